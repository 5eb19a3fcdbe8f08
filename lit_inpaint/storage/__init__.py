"""Files on disk: atomic writes, locks, the cache directory and pretrained weights."""
