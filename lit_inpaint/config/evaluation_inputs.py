"""Read what `evaluate` is given: checkpoints, and the configuration of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_inpaint.config import check_settings, load_yaml
from lit_inpaint.errors import UserError
from lit_inpaint.runs.trusted_classes import UntrustedClassError, only_trusted_imports, require_trusted, trust

if TYPE_CHECKING:
    from lit_inpaint.runs.checkpoint_file import LoadedCheckpoint

DEFAULT_PROTOCOL = "lpi"
_SIZE_OPTIONS = ("--data.size", "--data.init_args.size", "--data.val_transform", "--data.init_args.val_transform")


def check_paths(names: Sequence[str]) -> list[Path]:
    """Paths of checkpoints; of a model folder, that of the weights.

    Raises:
        UserError: one does not exist.
    """
    from lit_inpaint.runs.model_folder import WEIGHTS, find_model_folder

    paths = [folder / WEIGHTS if (folder := find_model_folder(Path(name))) else Path(name) for name in names]
    if missing := [path for path in paths if not path.is_file()]:
        raise UserError(f"no checkpoint at {missing[0]}; a run writes checkpoints/last.ckpt and checkpoints/best.ckpt")
    return paths


def read_checkpoints(paths: Sequence[Path]) -> dict[str, LoadedCheckpoint]:
    """Load checkpoints, by the labels that distinguish them.

    Raises:
        UserError: a file is broken, is no checkpoint, or is named twice.
    """
    from lit_inpaint.evaluation.method_labels import label_checkpoints
    from lit_inpaint.runs.checkpoint_file import load_with_config

    read = [load_with_config(path) for path in paths]
    labels = label_checkpoints([checkpoint.model for checkpoint in read], paths)
    return dict(zip(labels, read, strict=True))


def load_named_experiment(name: str | None) -> load_yaml.Config | None:
    """Load the experiment called `name`, and trust the classes that the user names in it; None without a name.

    Raises:
        UserError: there is no such experiment.
    """
    if name is None:
        return None
    experiment = load_yaml.load_experiment(name)
    trust(experiment)
    return experiment


def evaluation_config(
    experiment: load_yaml.Config | None, checkpoints: Mapping[str, LoadedCheckpoint], options: Sequence[str]
) -> load_yaml.Config:
    """The configuration of an evaluation: of the experiment, else of the first checkpoint's training, else of any folder.

    Args:
        experiment: from `load_named_experiment`.
        checkpoints: from `read_checkpoints`.
        options: the `--data.…` options.

    Raises:
        UserError: the first checkpoint has no configuration, or without a checkpoint no option names the data.
    """
    if experiment is not None:
        return experiment
    if checkpoints:
        first = next(iter(checkpoints.values()))
        if first.config is None:
            raise UserError(f"{first.path} contains no data configuration; name --experiment NAME")
        used: load_yaml.Config = {
            key: first.config[key] for key in ("model", "data", "seed", "protocol") if key in first.config
        }
        require_trusted(used, first.path)
        _check_imports(used, first.path)
        return used
    if not options:
        raise UserError("without a checkpoint, name the images: --experiment NAME, or --data.root DIR (--data.… for the rest)")
    # A configuration is checked as a whole, so it needs a model; that is not built.
    return {
        "model": {"class_path": "lit_inpaint.papers.LPINet"},
        "data": {"class_path": "lit_inpaint.data.EvaluationFolder"},
    }


def _check_imports(config: load_yaml.Config, path: Path) -> None:
    """Check that a checkpoint's configuration imports nothing that is not trusted; options may correct its other mistakes."""
    try:
        with only_trusted_imports(config, path):
            check_settings.check(config)
    except UntrustedClassError:
        raise
    except UserError:
        pass


def native_size_options(options: Sequence[str]) -> list[str]:
    """Append the option for images in their own sizes, unless `options` set a size or a transform."""
    if any(option.startswith(_SIZE_OPTIONS) for option in options):
        return list(options)
    return [*options, "--data.val_transform", "lit_inpaint.data.NativeSize"]  # last: a class resets the others
