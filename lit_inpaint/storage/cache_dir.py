"""The cache directory: pretrained weights and file lists that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from lit_inpaint.storage.user_path import user_path


def cache_dir() -> Path:
    """Return `$LIT_INPAINT_CACHE`, or `~/.cache/lit_inpaint` if it is not set; the directory need not exist."""
    named = os.environ.get("LIT_INPAINT_CACHE")
    return user_path(named) if named else Path.home() / ".cache" / "lit_inpaint"
