"""lit_inpaint: image-inpainting papers on one data pipeline, one training engine and one evaluation.

`lit_inpaint.load(path)` brings back any checkpoint; `lit_inpaint.inpaint(image, mask)` fills the holes of one image of any size
and kind; `lit_inpaint.papers` holds one file per paper; `lit_inpaint.masks` and
`lit_inpaint.metrics` are useful on their own. Submodules are imported on first use, so that `--help` and mistakes answer fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "data", "inpaint", "load", "masks", "metrics", "papers"]

if TYPE_CHECKING:
    from lit_inpaint import data, masks, metrics, papers
    from lit_inpaint.inpainting.inpaint_image import inpaint
    from lit_inpaint.runs.checkpoint_file import load


def __getattr__(name: str) -> object:
    if name == "load":
        return importlib.import_module("lit_inpaint.runs.checkpoint_file").load
    if name in __all__:
        return importlib.import_module(f"lit_inpaint.{name}")
    raise AttributeError(f"module 'lit_inpaint' has no attribute {name!r}")
