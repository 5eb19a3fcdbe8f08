"""Files on disk: image files, atomic writes, locks, the cache directory and pretrained weights."""
