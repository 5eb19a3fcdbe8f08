"""Turn weights of other programs into checkpoints: find the state dict in a file, its prefix, and the names that fit."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lit_inpaint.engine.checkpoint_metadata import describe_weights
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.storage.atomic_write import atomic_write
from lit_inpaint.storage.plain_data import check_plain_data
from lit_inpaint.storage.pretrained_weights import read_state_dict, require_unpacked
from lit_inpaint.storage.tensor_file import write_tensors

State = dict[str, Tensor]

_MAX_PREFIX = 3  # parts, as in `module.generator.model.`
_COUNTER = "num_batches_tracked"  # of batch norm; not in files of PyTorch before 0.4.1


class Conversion(NamedTuple):
    """How the weights of a file were loaded.

    Attributes:
        kind: "all networks", "generator" or "public code".
        prefix: of the names in the file, which was removed.
        used: number of tensors.
        dropped: names in the file, without the prefix, that were not needed.
        step: number of trained batches that the file records, else 0.
    """

    kind: str
    prefix: str
    used: int
    dropped: list[str]
    step: int


def convert(model: Inpainter, path: Path, discriminator: Path | None = None) -> Conversion:
    """Load weights of another program, or of another version of this one, into a newly built model.

    The file holds a state dict, alone or inside a checkpoint. Names may have a prefix, such as `module.` or `generator.`.
    Without it they are those of the model, those of its generator, or those of the paper's public code (`load_official`).

    Args:
        model: newly built.
        path: of the file, `.safetensors` or of `torch.save`.
        discriminator: file of the public code's discriminator.

    Raises:
        UserError: the file is broken or holds no state dict, or its weights fit the model under no prefix. Then the message
            counts the names that are missing, unknown and of another shape, where they are fewest.
    """
    nested, step = _read(path)
    other = None if discriminator is None else max(_read(discriminator)[0].values(), key=len)
    attempts: list[tuple[int, str]] = []
    official: list[tuple[int, str]] = []
    for where, state in nested.items():
        for prefix, found in _without_prefixes(state):
            shown = f"{where}{prefix}"
            for kind, network in (("all networks", model), ("generator", model.generator)) if other is None else ():
                differing = _differences(network, found)
                if not any(differing.values()):
                    network.load_state_dict(found, strict=False)  # counters of batch norm may be missing
                    return Conversion(kind, shown, len(found), [], step)
                total = sum(map(len, differing.values()))
                attempts.append((total, f"as {kind}{f' under {shown}' if shown else ''}: {_describe(differing)}"))
            try:
                dropped = model.load_official(found, other)
            except UserError as error:
                count = re.search(r"(\d+) weights", str(error))
                official += [] if count is None else [(int(count[1]), str(error))]
            except (KeyError, RuntimeError, ValueError, IndexError):
                continue  # names that the paper's map of names does not expect at all
            else:
                return Conversion("public code", shown, len(found) - len(dropped), dropped, step)
    closest = f"; closest {min(attempts)[1]}" if attempts else ""
    public = f"; as public weights: {min(official)[1]}" if official else ""
    raise UserError(
        f"{path} does not fit this {type(model).__name__}{closest}{public}; another variant needs other --model.… settings"
    )


def write_checkpoint(model: Inpainter, path: Path, config: dict[str, Any] | None, step: int) -> None:
    """Write a model as a checkpoint that every command reads; it has no optimizer states, so no run resumes from it.

    Args:
        model: with its weights.
        path: of the checkpoint.
        config: of the run that it belongs to, for `evaluate`; None: not known.
        step: number of trained batches, 0 if not known.
    """
    record = describe_weights(type(model), model.hparams, model.seed)
    record |= {} if config is None else {"config": config}
    content = {"state_dict": model.state_dict(), "lit_inpaint": record, "global_step": step, "callbacks": {}}
    with atomic_write(path) as part:
        write_tensors(content, part)


def _read(path: Path) -> tuple[dict[str, State], int]:
    """Read the state dicts in a file, by the keys that lead to each ("" for the file itself), and the recorded step."""
    if not path.is_file():
        raise UserError(f"no weights at {path}")
    remedy = (
        "if it is a checkpoint with objects of another program, which are not read for safety, save its state dict alone: "
        "torch.save(checkpoint['state_dict'], FILE)"
    )
    if path.suffix == ".safetensors":
        return {"": read_state_dict(path, remedy)}, 0
    try:
        require_unpacked(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UserError:
        raise
    except Exception as error:  # an unpickler may fail with any exception
        raise UserError(f"{path} cannot be read; {remedy}") from error
    check_plain_data(content, str(path))
    found = dict(_state_dicts(content))
    if not found:
        raise UserError(f"{path} holds no state dict; {remedy}")
    step = content.get("global_step", 0) if isinstance(content, dict) else 0
    return found, step if isinstance(step, int) else 0


def _state_dicts(content: object, where: str = "") -> Iterator[tuple[str, State]]:
    """Yield every dictionary of tensors in nested dictionaries, EMA weights before others."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors and len(tensors) >= len(content) / 2:
        yield where, tensors
        return
    for name in sorted(content, key=lambda name: "ema" not in str(name).lower()):
        yield from _state_dicts(content[name], f"{where}{name}/")


def _without_prefixes(state: State) -> Iterator[tuple[str, State]]:
    """Yield the weights below each prefix of names, without it: no prefix first, then those with most weights."""
    counts: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for depth in range(1, min(_MAX_PREFIX, len(parts) - 1) + 1):
            prefix = ".".join(parts[:depth]) + "."
            counts[prefix] = counts.get(prefix, 0) + 1
    yield "", state
    for prefix in sorted(counts, key=lambda prefix: (-counts[prefix], prefix)):
        yield prefix, {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _differences(network: nn.Module, found: State) -> dict[str, list[str]]:
    """Names that differ between a network and a state dict, by the kind of difference."""
    needed = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return {
        "missing": [name for name in needed if name not in found and not name.endswith(_COUNTER)],
        "unknown": [name for name in found if name not in needed],
        "of another shape": [name for name in needed if name in found and found[name].shape != needed[name].shape],
    }


def _describe(differing: Mapping[str, list[str]]) -> str:
    kinds = [
        f"{len(names)} {kind} ({', '.join(names[:1])}{', …' * (len(names) > 1)})" for kind, names in differing.items() if names
    ]
    return ", ".join(kinds)
