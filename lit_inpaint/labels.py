"""What tables call networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_inpaint.engine import Inpainter
from lit_inpaint.settings import plain
from lit_inpaint.types import UserError


def variant_of(model: Inpainter) -> str | None:
    """The name in its paper's tables of the variant that a model's arguments make, None where they make none of these."""
    arguments = dict(model.hparams)  # out of a checkpoint, tuples are lists
    fitting = {
        name: variant
        for name, variant in model.published_as.items()
        if all(plain(arguments.get(key)) == plain(value) for key, value in variant.items())
    }
    return max(fitting, key=lambda name: len(fitting[name]), default=None)  # the one that says most


def label_checkpoints(models: Sequence[Inpainter], paths: Sequence[Path]) -> list[str]:
    """A name for each checkpoint, as short as tells them apart: the paper, then its variant, its run, its file.

    Args:
        models: what the checkpoints hold.
        paths: where they lie, as the user gave them.

    Raises:
        UserError: the same file is named twice.
    """
    full = [path.resolve() for path in paths]
    if doubles := [str(path) for place, path in enumerate(paths) if full[place] in full[:place]]:
        raise UserError(f"--checkpoint names {doubles[0]} twice")
    papers = [type(model).__name__ for model in models]
    runs = [path.parents[1].name if path.parent.name == "checkpoints" else path.parent.name for path in full]
    attempts = (
        papers,
        [variant_of(model) or paper for model, paper in zip(models, papers, strict=True)],
        [f"{paper} {run}" for paper, run in zip(papers, runs, strict=True)],
        [f"{paper} {path.stem}" for paper, path in zip(papers, full, strict=True)],
        [f"{paper} {run}/{path.stem}" for paper, run, path in zip(papers, runs, full, strict=True)],
    )
    whole = [f"{paper} {path}" for paper, path in zip(papers, full, strict=True)]
    return next((labels for labels in attempts if len(set(labels)) == len(labels)), whole)
