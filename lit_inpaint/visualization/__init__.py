"""Image grids and contact sheets of masks drawn with Pillow, and console progress bars."""
