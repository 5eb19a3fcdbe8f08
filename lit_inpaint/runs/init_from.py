"""The weights a new run begins with, where they come from another run: `init_from`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.runs.checkpoint_file import read_checkpoint

_GROUPS = 6
_SHAPES = 3


@torch.no_grad()
def init_from(model: Inpainter, path: str | Path) -> list[str]:
    """Give `model` the weights of a checkpoint of ours that have the same name and shape here; nothing else is taken.

    The checkpoint may be of another paper or of the same with other arguments. Of the generator its moving average is taken
    where the run kept one, as `lit_inpaint.load` does. What finds no counterpart stays as it was initialised.

    Args:
        model: freshly built; neither its optimizers nor its average exist yet.
        path: a `.ckpt` of ours.

    Returns:
        What was taken and what was not, in lines to print.

    Raises:
        UserError: the file cannot be read, is not ours, or nothing in it matches.
    """
    try:
        content = read_checkpoint(path)
    except UserError as error:
        raise UserError(f"init_from: {error}") from error
    theirs, averaged = _weights(content)
    ours = _tensors(model.state_dict())
    matched = [name for name, tensor in ours.items() if name in theirs and theirs[name].shape == tensor.shape]
    paper, here = str(content["lit_inpaint"]["paper"]).rpartition(".")[2], type(model).__name__
    if not matched:
        raise UserError(f"init_from: no tensor of {path}, which holds {paper}, has the name and shape of one of this {here}")
    for name in matched:
        ours[name].copy_(theirs[name])  # into the model: `state_dict` lends its tensors

    source = f"{paper}, step {content.get('global_step', 'unknown')}" + (", the generator's moving average" if averaged else "")
    taken, whole = (sum(ours[name].numel() for name in names) / 1e6 for names in (matched, ours))
    lines = [
        f"Initialised from {path} ({source}): {len(matched)} of {len(ours)} tensors matched, "
        f"{taken:.3g} of {whole:.3g} million values"
    ]
    if missing := [name for name in ours if name not in theirs]:
        lines.append(f"  missing in the file, left as initialised ({len(missing)}): {_grouped(missing)}")
    if idle := [name for name in theirs if name not in ours]:
        lines.append(f"  in the file but not in this model ({len(idle)}): {_grouped(idle)}")
    if others := [name for name in ours if name in theirs and theirs[name].shape != ours[name].shape]:
        shapes = [
            f"{name} {tuple(theirs[name].shape)} in the file, {tuple(ours[name].shape)} here" for name in others[:_SHAPES]
        ]
        more = f"; and {len(others) - _SHAPES} more" if len(others) > _SHAPES else ""
        lines.append(f"  other shape, left as initialised ({len(others)}): {'; '.join(shapes)}{more}")
    return lines


def _weights(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], bool]:
    """A checkpoint's weights by their names in the model, and whether the generator's are its average."""
    average = content.get("callbacks", {}).get("GeneratorEMA", {}).get("average") or {}
    averaged = {f"generator.{name}": tensor for name, tensor in average.items()}
    return _tensors({**content["state_dict"], **averaged}), bool(averaged)


def _tensors(state: Mapping[str, object]) -> dict[str, Tensor]:
    """Without what a module may keep there besides (`get_extra_state`)."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _grouped(names: Sequence[str]) -> str:
    """Names of modules and tensors on one line: few as they are, many by the longest beginnings that make few groups."""
    for depth in range(max(name.count(".") for name in names) + 1, 0, -1):
        groups: dict[str, list[list[str]]] = {}
        for name in names:
            parts = name.split(".")
            groups.setdefault(".".join(parts[:depth]), []).append(parts)
        if len(groups) <= _GROUPS:
            break
    shown = [
        ".".join(members[0]) if len(members) == 1 else f"{'.'.join(_beginning(members))}.* ({len(members)})"
        for members in islice(groups.values(), _GROUPS)
    ]
    return ", ".join(shown) + (f", and {len(groups) - _GROUPS} groups more" if len(groups) > _GROUPS else "")


def _beginning(names: Sequence[Sequence[str]]) -> Iterator[str]:
    """The parts with which all names begin."""
    for parts in zip(*names, strict=False):
        if len(set(parts)) > 1:
            return
        yield parts[0]
