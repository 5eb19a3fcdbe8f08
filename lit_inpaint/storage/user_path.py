"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Expand a leading `~` to the home folder. Shells leave it in `--key=~/x` and YAML; an unknown user's `~name` stays."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
