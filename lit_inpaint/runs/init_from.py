"""Initialize the weights of a new run from a checkpoint of another run (`init_from`)."""

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

_MAX_GROUPS = 6
_MAX_SHAPES = 3


@torch.no_grad()
def init_from(model: Inpainter, path: str | Path) -> list[str]:
    """Copy the tensors of a checkpoint that have the same name and shape in `model`; nothing else is taken from it.

    The checkpoint may be of another paper, or of the same with other arguments. The generator's EMA weights are used where the
    run has them, as in `lit_inpaint.load`. Other tensors of `model` keep their initial values.

    Args:
        model: newly built; neither its optimizers nor its EMA weights exist yet.
        path: a `.ckpt` of this package.

    Returns:
        Lines to print: which tensors matched and which did not.

    Raises:
        UserError: the file cannot be read, is not of this package, or no tensor matches.
    """
    try:
        content = read_checkpoint(path)
    except UserError as error:
        raise UserError(f"init_from: {error}") from error
    theirs, uses_ema = _weights(content)
    ours = _tensors(model.state_dict())
    matched = [name for name, tensor in ours.items() if name in theirs and theirs[name].shape == tensor.shape]
    source, target = str(content["lit_inpaint"]["paper"]).rpartition(".")[2], type(model).__name__
    if not matched:
        raise UserError(f"init_from: no tensor of {path}, which holds {source}, has the name and shape of one of this {target}")
    for name in matched:
        ours[name].copy_(theirs[name])  # into the model: `state_dict` shares its tensors

    source += f", step {content.get('global_step', 'unknown')}" + (", the generator's EMA" if uses_ema else "")
    copied, total = (sum(ours[name].numel() for name in names) / 1e6 for names in (matched, ours))
    lines = [
        f"Initialized from {path} ({source}): {len(matched)} of {len(ours)} tensors matched, "
        f"{copied:.3g} of {total:.3g} million values"
    ]
    if missing := [name for name in ours if name not in theirs]:
        lines.append(f"  missing in the file, left as initialized ({len(missing)}): {_group(missing)}")
    if unused := [name for name in theirs if name not in ours]:
        lines.append(f"  in the file but not in this model ({len(unused)}): {_group(unused)}")
    if others := [name for name in ours if name in theirs and theirs[name].shape != ours[name].shape]:
        shapes = [
            f"{name} {tuple(theirs[name].shape)} in the file, {tuple(ours[name].shape)} here" for name in others[:_MAX_SHAPES]
        ]
        more = f"; and {len(others) - _MAX_SHAPES} more" if len(others) > _MAX_SHAPES else ""
        lines.append(f"  other shape, left as initialized ({len(others)}): {'; '.join(shapes)}{more}")
    return lines


def _weights(content: Mapping[str, Any]) -> tuple[dict[str, Tensor], bool]:
    """Return the checkpoint's tensors by their names in the model, and whether the generator's are EMA weights."""
    ema = ((content.get("callbacks") or {}).get("GeneratorEMA") or {}).get("weights") or {}
    generator = {f"generator.{name}": tensor for name, tensor in ema.items()}
    return _tensors({**content["state_dict"], **generator}), bool(generator)


def _tensors(state: Mapping[str, object]) -> dict[str, Tensor]:
    """Drop entries that are not tensors (`get_extra_state`)."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _group(names: Sequence[str]) -> str:
    """Format names of tensors for one line: grouped by the longest prefixes that give at most `_MAX_GROUPS` groups."""
    for depth in range(max(name.count(".") for name in names) + 1, 0, -1):
        groups: dict[str, list[list[str]]] = {}
        for name in names:
            parts = name.split(".")
            groups.setdefault(".".join(parts[:depth]), []).append(parts)
        if len(groups) <= _MAX_GROUPS:
            break
    shown = [
        ".".join(members[0]) if len(members) == 1 else f"{'.'.join(_common_prefix(members))}.* ({len(members)})"
        for members in islice(groups.values(), _MAX_GROUPS)
    ]
    return ", ".join(shown) + (f", and {len(groups) - _MAX_GROUPS} groups more" if len(groups) > _MAX_GROUPS else "")


def _common_prefix(names: Sequence[Sequence[str]]) -> Iterator[str]:
    for parts in zip(*names, strict=False):
        if len(set(parts)) > 1:
            return
        yield parts[0]
