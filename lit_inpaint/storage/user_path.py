"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Expand a leading `~` to the home folder. Shells leave it in `--key=~/x` and YAML; an unknown user's `~name` stays."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def real_path(path: Path) -> Path:
    """Return the absolute path behind all links. In place of an exception, links that lead in a circle are left as they are."""
    return Path(os.path.realpath(path))
