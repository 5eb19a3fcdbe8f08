"""What the page offers to fill holes with: networks and classical methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import NAMES, ClassicalMethod, missing_package
from lit_inpaint.evaluation.method_labels import label_checkpoints
from lit_inpaint.runs.checkpoint_file import load
from lit_inpaint.runs.model_folder import SHIPPED

_SLOW = {"biharmonic": 20_000, "fsr": 200_000}
"""Maximum number of hole pixels of methods that take more than about a minute for it."""


@dataclass(frozen=True)
class Method:
    """One way to fill holes.

    Attributes:
        key: identifies it in requests and file names.
        label: shown on the page.
        completes: a paper or a classical method.
        selected: whether it is chosen when the page opens.
        max_hole: maximum number of hole pixels; None: any.
    """

    key: str
    label: str
    completes: Inpainter | ClassicalMethod
    selected: bool = False
    max_hole: int | None = None

    @property
    def is_classical(self) -> bool:
        """Whether it is no network."""
        return isinstance(self.completes, ClassicalMethod)

    @property
    def takes_edges(self) -> bool:
        """Whether users can draw edges for it."""
        if isinstance(self.completes, ClassicalMethod):
            return False
        try:
            self.completes.require_edges()
        except UserError:
            return False
        return True

    def check_hole(self, mask: Tensor) -> None:
        """Raise a `UserError` if this method would take minutes for a mask."""
        if self.max_hole is not None and (size := int(mask.sum())) > self.max_hole:
            raise UserError(
                f"{self.label} would take minutes for {size:,} pixels; paint {self.max_hole:,} at most, or take another method"
            )


def load_methods(checkpoints: Sequence[str]) -> list[Method]:
    """Load the networks, and list them with the classical methods that are installed.

    The given checkpoints are selected; without any, the network of the package.

    Args:
        checkpoints: files, model folders or "shipped"; the network of the package is added if it is not among them.

    Raises:
        UserError: a checkpoint cannot be read, or is named twice.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = [name for name in checkpoints if name != SHIPPED]
    models = [load(name).to(device) for name in given]
    labels = label_checkpoints(models, [Path(name) for name in given])
    shipped = load(SHIPPED).to(device)
    methods = [Method("shipped", f"Network of the package ({type(shipped).__name__})", shipped, selected=not given)]
    for number, (label, model) in enumerate(zip(labels, models, strict=True), start=1):
        methods.append(Method(f"checkpoint{number}", label, model, selected=True))
    for name, (label, fill) in NAMES.items():
        if missing_package(name) is None:
            methods.append(Method(name, label, ClassicalMethod(label, fill), max_hole=_SLOW.get(name)))
    return methods
