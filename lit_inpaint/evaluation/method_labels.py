"""What tables call networks and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, cast

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource
from lit_inpaint.settings import plain


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


def label_masks(sources: Sequence[MaskSource]) -> list[str]:
    """Sources as a call would make them, without the options that are at their defaults in all sources of the same class."""
    told: dict[type, set[str]] = {}
    for source in _nested(sources):
        here = told.setdefault(type(source), set())
        here |= {field.name for field in _fields(source) if _says(getattr(source, field.name), field)}
    return [_call(source, told) for source in sources]


def _call(value: object, told: dict[type, set[str]]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_call(part, told) for part in value)}{',' * (len(value) == 1)})"
    if not isinstance(value, MaskSource):
        return repr(value)
    shown = (field.name for field in _fields(value) if field.name in told[type(value)])
    return f"{type(value).__name__}({', '.join(f'{name}={_call(getattr(value, name), told)}' for name in shown)})"


def _nested(values: Sequence[object]) -> Iterator[MaskSource]:
    """The sources among `values`, and those that they take their masks from."""
    for value in values:
        if isinstance(value, MaskSource):
            yield value
            yield from _nested([getattr(value, field.name) for field in _fields(value)])
        elif isinstance(value, tuple):
            yield from _nested(value)


def _fields(source: MaskSource) -> tuple[Field[Any], ...]:
    return fields(cast(Any, source))


def _says(value: object, field: Field[Any]) -> bool:
    """Whether an option's value is not its default; a source is always named."""
    return isinstance(value, MaskSource) or value != field.default
