"""What the page offers to fill holes with: networks and classical methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import NAMES, ClassicalMethod, missing_package
from lit_inpaint.evaluation.method_labels import label_checkpoints
from lit_inpaint.inpainting.inpaint_image import make_filler, require_edges
from lit_inpaint.inpainting.strategies import Filler
from lit_inpaint.runs.checkpoint_file import load
from lit_inpaint.runs.model_folder import SHIPPED

_SLOW = {"biharmonic": 100_000, "fsr": 100_000}
"""Maximum number of hole pixels of slow methods. Biharmonic: 0.2 s for 20,000, 2.4 s for 90,000, gigabytes for 360,000."""


@dataclass(frozen=True)
class Method:
    """One way to fill holes.

    Attributes:
        key: identifies it in requests and file names.
        label: shown on the page.
        filler: fills by a paper or a classical method.
        selected: whether it is chosen when the page opens.
        max_hole: maximum number of hole pixels; None: any.
    """

    key: str
    label: str
    filler: Filler
    selected: bool = False
    max_hole: int | None = None

    @property
    def network(self) -> Inpainter | None:
        """The paper; None for a classical method."""
        return self.filler.method if isinstance(self.filler.method, Inpainter) else None

    @property
    def takes_edges(self) -> bool:
        """Whether users can draw edges for it."""
        try:
            require_edges(self.filler)
        except UserError:
            return False
        return True

    def check_hole(self, pixels: int) -> None:
        """Raise a `UserError` if this method takes too long for a hole of so many pixels."""
        if self.max_hole is not None and pixels > self.max_hole:
            raise UserError(
                f"{self.label} takes too long for {pixels:,} pixels; paint up to {self.max_hole:,}, or use another method"
            )


def filler_of(method: Inpainter | ClassicalMethod) -> Filler:
    """Return the filler that `lit_inpaint.inpaint` would use."""
    return make_filler(method, strategy="crop", method=None, size=None, blend=False)


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
    label = f"Network of the package ({type(shipped).__name__})"
    methods = [Method("shipped", label, filler_of(shipped), selected=not given)]
    for number, (label, model) in enumerate(zip(labels, models, strict=True), start=1):
        methods.append(Method(f"checkpoint{number}", label, filler_of(model), selected=True))
    for name, (label, function) in NAMES.items():
        if missing_package(name) is None:
            methods.append(Method(name, label, filler_of(ClassicalMethod(label, function)), max_hole=_SLOW.get(name)))
    return methods
