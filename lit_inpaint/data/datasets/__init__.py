"""Data sets of the papers, one file each: official layout, counts and splits."""
