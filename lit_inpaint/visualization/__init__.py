"""Labeled image grids drawn with Pillow, and console progress bars."""
