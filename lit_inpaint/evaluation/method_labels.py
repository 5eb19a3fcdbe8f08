"""Labels of checkpoints and mask sources in tables and messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, cast

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource
from lit_inpaint.settings import plain
from lit_inpaint.storage.user_path import real_path


def variant_of(model: Inpainter) -> str | None:
    """Name in its paper's tables of the variant with the model's arguments; None if no variant has them."""
    arguments = dict(model.hparams)  # a checkpoint turns tuples into lists
    matching = {
        name: variant
        for name, variant in model.published_as.items()
        if all(plain(arguments.get(key)) == plain(value) for key, value in variant.items())
    }
    return max(matching, key=lambda name: len(matching[name]), default=None)  # the most specific one


def describe_checkpoint(path: Path, model: Inpainter, step: int | None) -> dict[str, object]:
    """Facts about a checkpoint for the JSON output: file, paper, variant, step, seed, number of generator parameters."""
    return {
        "checkpoint": str(path),
        "paper": model.label,
        "variant": variant_of(model),
        "step": step,
        "seed": model.seed,
        "parameters": sum(parameter.numel() for parameter in model.generator.parameters()),
    }


def name_published(method: str, labels: Iterable[str]) -> str:
    """Name a published method in a table with evaluated ones: with our class, such as "CA (DeepFillV1)", if its name is unlike.

    Args:
        method: as its paper prints it.
        labels: of the evaluated methods; a class that is not among them is not added.
    """
    exported = [getattr(papers, name) for name in papers.__all__]
    for paper in (paper.__name__ for paper in exported if method in getattr(paper, "published_as", ())):
        unlike = method.casefold() not in paper.casefold() and paper.casefold() not in method.casefold()
        if unlike and any(label.split()[0] == paper for label in labels):
            return f"{method} ({paper})"
    return method


def label_checkpoints(models: Sequence[Inpainter], paths: Sequence[Path]) -> list[str]:
    """Label all checkpoints: by paper, and where several are of one paper, by variant or the shortest end of run and file.

    Args:
        models: of the checkpoints.
        paths: of the checkpoints, as the user gave them.

    Raises:
        UserError: the same file is named twice.
    """
    full = [real_path(path) for path in paths]
    if duplicates := [str(path) for index, path in enumerate(paths) if full[index] in full[:index]]:
        raise UserError(f"--checkpoint names {duplicates[0]} twice")
    papers = [model.label for model in models]
    labels = list(papers)
    for paper in set(papers):
        group = [index for index, name in enumerate(papers) if name == paper]
        if len(group) > 1:
            distinct = _distinguish(paper, [models[index] for index in group], [full[index] for index in group])
            for index, label in zip(group, distinct, strict=True):
                labels[index] = label
    longest = [f"{paper} {path}" for paper, path in zip(papers, full, strict=True)]
    return labels if len(set(labels)) == len(labels) else longest


def _distinguish(paper: str, models: Sequence[Inpainter], paths: Sequence[Path]) -> list[str]:
    folders = [path.parents[1] if path.parent.name == "checkpoints" else path.parent for path in paths]
    attempts = [[variant_of(model) or paper for model in models]]
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        runs = ["/".join(folder.parts[1:][-depth:]) for folder in folders]
        attempts.append([f"{paper} {run}" for run in runs])
        if depth == 1:
            attempts.append([f"{paper} {path.stem}" for path in paths])
        attempts.append([f"{paper} {run}/{path.stem}" for run, path in zip(runs, paths, strict=True)])
    attempts.append([f"{paper} {path}" for path in paths])
    return next(labels for labels in attempts if len(set(labels)) == len(labels))


def label_masks(sources: Sequence[MaskSource]) -> list[str]:
    """Constructor calls of the sources, without options that all sources of the same class leave at their defaults."""
    shown: dict[type, set[str]] = {}
    for source in _nested(sources):
        options = shown.setdefault(type(source), set())
        options |= {field.name for field in _fields(source) if _differs(getattr(source, field.name), field)}
    return [_call(source, shown) for source in sources]


def _call(value: object, shown: dict[type, set[str]]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_call(part, shown) for part in value)}{',' * (len(value) == 1)})"
    if not isinstance(value, MaskSource):
        return repr(value)
    names = (field.name for field in _fields(value) if field.name in shown[type(value)])
    return f"{type(value).__name__}({', '.join(f'{name}={_call(getattr(value, name), shown)}' for name in names)})"


def _nested(values: Sequence[object]) -> Iterator[MaskSource]:
    """The sources among `values` and, recursively, among their fields."""
    for value in values:
        if isinstance(value, MaskSource):
            yield value
            yield from _nested([getattr(value, field.name) for field in _fields(value)])
        elif isinstance(value, tuple):
            yield from _nested(value)


def _fields(source: MaskSource) -> tuple[Field[Any], ...]:
    return fields(cast(Any, source))


def _differs(value: object, field: Field[Any]) -> bool:
    """Whether an option is not at its default; a nested source always counts as different."""
    return isinstance(value, MaskSource) or value != field.default
