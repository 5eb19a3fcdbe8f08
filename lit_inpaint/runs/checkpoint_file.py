"""Read checkpoints safely, and rebuild the paper that a checkpoint holds."""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lit_inpaint.data.split_record import is_record
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.runs.limit_parameters import limit_parameters
from lit_inpaint.runs.model_folder import SHIPPED, find_model_folder, read_model_folder
from lit_inpaint.runs.trusted_classes import only_trusted_imports, require_trusted
from lit_inpaint.storage.plain_data import check_plain_data
from lit_inpaint.storage.pretrained_weights import require_unpacked
from lit_inpaint.storage.user_path import user_path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with `weights_only=True`, so that no code in the file is executed.

    Args:
        path: a `.ckpt` file, a model folder, or "shipped"; see `model_folder`.

    Raises:
        UserError: the file does not exist, is truncated, or is not a checkpoint of this package.
    """
    path = user_path(path)
    if folder := find_model_folder(path):
        described = read_model_folder(folder)
        _check_entries(described, folder)
        return described
    if not path.is_file():
        if path.is_dir():
            raise UserError(f"no checkpoint at {path}: it is a directory; a run directory holds checkpoints/last.ckpt")
        raise UserError(f"no checkpoint at {path}; a run writes checkpoints/last.ckpt and checkpoints/best.ckpt")
    try:
        require_unpacked(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    except Exception as error:  # an unpickler reads any bytes as instructions and may fail with any exception
        text = str(error).partition("\n")[0].split(". ")[0]
        reason = type(error).__name__ if not text or text.isdecimal() else text
        raise UserError(
            f"{path} cannot be read as a checkpoint; it may be truncated or of another program ({reason})"
        ) from error
    if not isinstance(content, dict) or "lit_inpaint" not in content or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of lit_inpaint: it names no paper")
    _check_entries(content, path)
    return cast(dict[str, Any], content)


def _check_entries(content: dict[str, Any], path: str | Path) -> None:
    """Check the entries of a checkpoint that commands read, so that damaged or foreign ones are named here."""
    description = f"{path} is not a checkpoint of lit_inpaint"
    check_plain_data(content, str(path))
    missing, wrong = list[str](), list[str]()
    for name, kind in (_REQUIRED | _OPTIONAL).items():
        *outer, key = name.split(".")
        within: Any = content
        for part in outer:
            within = within.get(part) if isinstance(within, dict) else None
        found = within.get(key) if isinstance(within, dict) else None
        if found is None:
            missing += [key] if name in _REQUIRED else []
        elif not isinstance(found, kind) or isinstance(found, bool):
            wrong.append(f"{name} is {type(found).__name__}, not {kind.__name__}")
    if wrong:
        raise UserError(f"{description}: {wrong[0]}")
    if missing:
        raise UserError(f"{description}: it lacks {', '.join(sorted(missing))}")
    ema = (content.get("callbacks") or {}).get("GeneratorEMA") or {}
    for weights in (content["state_dict"], ema.get("weights") or {}):
        if strange := [name for name in weights if not isinstance(name, str)]:
            raise UserError(f"{description}: it has weights with the name {strange[0]!r}")
    if (splits := content.get("splits")) is not None and not is_record(splits):
        raise UserError(f"{description}: its record of images (splits) is damaged")


_REQUIRED: dict[str, type] = {
    "lit_inpaint": dict,
    "lit_inpaint.paper": str,
    "lit_inpaint.settings": dict,
    "lit_inpaint.seed": int,
    "state_dict": dict,
}
_OPTIONAL: dict[str, type] = {
    "lit_inpaint.config": dict,
    "lit_inpaint.versions": dict,
    "global_step": int,
    "callbacks": dict,
    "callbacks.GeneratorEMA": dict,
    "callbacks.GeneratorEMA.weights": dict,
    "splits": dict,
}
"""Types of a checkpoint's entries, by their keys from the outside in."""


_MAX_REASON = 300
_MAX_UNSTORED = 2**28
"""Parameters that a network may have beyond twice those stored: networks of a training that model folders do not hold."""


class ResumePoint(NamedTuple):
    """Number of trained batches in a checkpoint, and its record of each split's images, None where it has none."""

    step: int
    splits: dict[str, Any] | None


def read_resume_point(path: Path, class_path: str) -> ResumePoint:
    """Read the step and the record of images of the checkpoint that a run resumes from.

    Args:
        path: the checkpoint.
        class_path: of the run's paper.

    Raises:
        UserError: as `read_checkpoint`, or the checkpoint holds another paper.
    """
    content = read_checkpoint(path)
    stored, paper = (name.rpartition(".")[2] for name in (content["lit_inpaint"]["paper"], class_path))
    if stored != paper:
        raise UserError(f"{path} is of {stored}, not of {paper}; name another --run_dir")
    if content.get("global_step") is None:
        raise UserError(
            f"{path} does not record its number of steps, so no run resumes from it; start a new one with --init_from"
        )
    return ResumePoint(content["global_step"], content.get("splits"))


def load(path: str | Path = SHIPPED, ema: bool = True) -> Inpainter:
    """Load the paper that a checkpoint holds, in evaluation mode on the CPU.

    Args:
        path: a `.ckpt` of this package, or a model folder; by default the network that comes with the package.
        ema: use the generator's EMA weights where the run has them.

    Raises:
        UserError: the file cannot be read, is not of this package, or its weights do not fit its settings.
    """
    return rebuild(read_checkpoint(path), path, ema)


class LoadedCheckpoint(NamedTuple):
    """A checkpoint's model, number of trained batches, and what it records of its run; None where it does not.

    Attributes:
        path: the file.
        model: the paper, with the weights.
        step: number of trained batches.
        config: the run's configuration.
        splits: record of each split's images, see `lit_inpaint.data.split_record`.
    """

    path: Path
    model: Inpainter
    step: int | None
    config: dict[str, Any] | None
    splits: dict[str, Any] | None


def load_with_config(path: Path) -> LoadedCheckpoint:
    """Load a checkpoint as `load` does, with what it records of its run; the optimizer states are freed."""
    content = read_checkpoint(path)
    model, config = rebuild(content, path), content["lit_inpaint"].get("config")
    return LoadedCheckpoint(path, model, content.get("global_step"), config, content.get("splits"))


def rebuild(content: dict[str, Any], path: str | Path, ema: bool = True) -> Inpainter:
    """Rebuild the paper as `load` does, from contents already read; errors name `path`."""
    description = content["lit_inpaint"]
    stored = [value.numel() for value in content["state_dict"].values() if isinstance(value, Tensor)]
    with limit_parameters(2 * sum(stored) + _MAX_UNSTORED, 2 * len(stored) + 10_000, f"the settings in {path}"):
        model = _build(description, path)
    model.seed = description["seed"]
    model.trained_size = _trained_size(description)
    try:
        if content.get("generator_only"):
            names = ((name, name.removeprefix("generator.")) for name in content["state_dict"])
            model.generator.load_state_dict({short: content["state_dict"][name] for name, short in names})
        else:
            model.load_state_dict(content["state_dict"])
        if ema and (weights := ((content.get("callbacks") or {}).get("GeneratorEMA") or {}).get("weights")):
            model.generator.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # not all expect values that are no tensors
        reason = str(error).splitlines()[-1].strip()
        reason = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]} …"  # it may name a thousand weights
        raise UserError(f"the weights in {path} do not fit {description['paper']}: {reason}") from error
    if broken := [name for name, value in model.generator.state_dict().items() if not _is_finite(value)]:
        raise UserError(f"the weights in {path} are not finite ({broken[0]} has NaN or infinity); name an earlier checkpoint")
    model.configure_model()
    return model.eval()


def _trained_size(description: dict[str, Any]) -> int | None:
    """Return the side of the largest training images: that of a model folder, or of the data in the run's configuration."""
    sizes = [description.get("trained_size")]
    with suppress(
        AttributeError, KeyError, TypeError
    ):  # a configuration of another version, or damaged: the size is not known then
        arguments = description["config"]["data"]["init_args"]
        folders = (arguments.get("mix") or {}).get("folders") or []
        sizes += [part.get("size") for part in (arguments, *folders)]
    return max((size for size in sizes if isinstance(size, int) and size > 0), default=None)


def _is_finite(value: object) -> bool:
    return not isinstance(value, Tensor) or not value.is_floating_point() or bool(value.isfinite().all())


def _paper_class(name: str, path: str | Path) -> type[Inpainter]:
    """Import the class, if `trusted_classes` allows it."""
    module, _, cls = name.rpartition(".")
    if not module:
        raise UserError(f"{path} names {name or 'nothing'}, which is no paper of lit_inpaint")
    require_trusted({"class_path": name}, path)
    try:
        paper = getattr(importlib.import_module(module), cls)
    except (ImportError, AttributeError, ValueError):
        source = "this version of lit_inpaint" if module.startswith("lit_inpaint.") else f"the module {module}"
        raise UserError(f"{path} holds {name}, which {source} does not have") from None
    if not (isinstance(paper, type) and issubclass(paper, Inpainter) and paper is not Inpainter):
        raise UserError(f"{path} names {name}, which is no paper of lit_inpaint: it is not a subclass of Inpainter")
    return paper


def _build(description: dict[str, Any], path: str | Path) -> Inpainter:
    """Build the paper from its settings, which the checkpoint holds as plain data."""
    from jsonargparse import ArgumentParser

    paper, settings = _paper_class(description["paper"], path), description["settings"]
    require_trusted(settings, path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(paper, "model")
    try:
        with only_trusted_imports(settings, path):
            config = parser.parse_object({"model": settings})
        return cast(Inpainter, parser.instantiate(config).model)
    except UserError:
        raise
    except Exception as error:  # constructors of papers may reject settings with any exception
        reason = " ".join(str(error).split())
        raise UserError(f"the settings in {path} do not fit this version of {paper.__name__}: {reason}") from None
