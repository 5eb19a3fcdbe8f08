"""Checkpoints of ours: reading one safely, and bringing the paper in it back to life."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

import torch

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU, with `weights_only=True`: nothing in the file is executed.

    Raises:
        UserError: no such file, not whole, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        if path.is_dir():
            raise UserError(f"no checkpoint at {path}: it is a folder; a run folder holds checkpoints/last.ckpt")
        raise UserError(f"no checkpoint at {path}; a run writes checkpoints/last.ckpt and checkpoints/best.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes are a foreign program to an unpickler, which may stumble in any way
        reason = str(error).splitlines()[0].split(". ")[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be read as a checkpoint; it may be truncated or of another program ({reason})"
        ) from error
    if not isinstance(content, dict) or "lit_inpaint" not in content or "state_dict" not in content:
        raise UserError(f"{path} is not a checkpoint of lit_inpaint: it says nothing about its paper")
    if missing := {"paper", "settings", "seed"} - set(content["lit_inpaint"]):
        raise UserError(f"{path} is not a checkpoint of lit_inpaint: it lacks {', '.join(sorted(missing))}")
    return cast(dict[str, Any], content)


def load(path: str | Path, ema: bool = True) -> Inpainter:
    """The paper that a checkpoint holds, in evaluation mode on the CPU.

    Args:
        path: a `.ckpt` of ours.
        ema: use the generator's moving average where the run kept one.

    Raises:
        UserError: the file cannot be read, is not ours, or does not fit its own settings.
    """
    return revive(read_checkpoint(path), path, ema)


def revive(content: dict[str, Any], path: str | Path, ema: bool = True) -> Inpainter:
    """As `load`, for contents already read; `path` is named in errors."""
    about = content["lit_inpaint"]
    model = _build(about, path)
    model.seed = about["seed"]
    try:
        model.load_state_dict(content["state_dict"])
        if ema and (average := content.get("callbacks", {}).get("GeneratorEMA", {}).get("average")):
            model.generator.load_state_dict(average)
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not fit {about['paper']}: {str(error).splitlines()[-1].strip()}") from error
    if model.training_settings.channels_last:
        model.configure_model()
    return model.eval()


def _paper(name: str, path: str | Path) -> type[Inpainter]:
    """The class; only this package's papers, so a checkpoint cannot name code to run."""
    module, _, cls = name.rpartition(".")
    if not module.startswith("lit_inpaint.papers."):
        raise UserError(f"{path} names {name}, which is no paper of lit_inpaint")
    try:
        paper = getattr(importlib.import_module(module), cls)
    except (ImportError, AttributeError):
        raise UserError(f"{path} holds {name}, which this version of lit_inpaint does not have") from None
    if not (isinstance(paper, type) and issubclass(paper, Inpainter)):
        raise UserError(f"{path} names {name}, which is no paper of lit_inpaint")
    return paper


def _build(about: dict[str, Any], path: str | Path) -> Inpainter:
    """The paper with its settings, back from plain data to the typed ones."""
    from jsonargparse import ArgumentError, ArgumentParser

    paper = _paper(about["paper"], path)
    if foreign := [name for name in _class_paths(about["settings"]) if not name.startswith("lit_inpaint.")]:
        raise UserError(f"{path} names {foreign[0]} in its settings, which is not of lit_inpaint; nothing of it was imported")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(paper, "model")
    try:
        config = parser.parse_object({"model": about["settings"]})
        return cast(Inpainter, parser.instantiate(config).model)
    except (ArgumentError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the settings in {path} do not fit this version of {paper.__name__}: {reason}") from None


def _class_paths(settings: object) -> list[str]:
    """Every class that settings name; the parser would import their modules."""
    if isinstance(settings, dict):
        own = [str(settings["class_path"])] if "class_path" in settings else []
        return own + [name for value in settings.values() for name in _class_paths(value)]
    if isinstance(settings, list):
        return [name for value in settings for name in _class_paths(value)]
    return []
