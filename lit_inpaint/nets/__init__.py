"""Layers and blocks that papers are built from, in torch's own layers; `cpu` holds faster forms of these for CPUs."""
