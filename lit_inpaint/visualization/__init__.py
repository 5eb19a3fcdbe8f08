"""Labeled image grids drawn with Pillow."""
