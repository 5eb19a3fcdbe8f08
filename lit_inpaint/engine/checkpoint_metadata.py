"""Describe the weights in a checkpoint: paper, constructor arguments, seed, versions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import lightning
import numpy as np
import torch

from lit_inpaint import __version__
from lit_inpaint.settings import plain


def describe_weights(paper: type, arguments: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return plain data from which the paper can be built again, so that a checkpoint loads with `weights_only=True`.

    Args:
        paper: class of the paper.
        arguments: as Lightning collects them: those of the paper's constructor, and those of its base classes.
        seed: of the run.
    """
    own = inspect.signature(paper).parameters
    return {
        "paper": f"{paper.__module__}.{paper.__qualname__}",
        "settings": plain({name: value for name, value in arguments.items() if name in own}),
        "seed": seed,
        "versions": {
            "lit_inpaint": __version__,
            "torch": str(torch.__version__),
            "lightning": lightning.__version__,
            "numpy": np.__version__,
        },
    }
