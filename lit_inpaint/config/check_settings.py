"""Check a configuration against all signatures, and build its objects with jsonargparse."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from lit_inpaint.config.error_messages import RESERVED_TRAINER_ARGS, constructor_error, format_config_error
from lit_inpaint.config.load_yaml import Config
from lit_inpaint.errors import UserError
from lit_inpaint.storage.plain_data import ExcessiveDataError, parse_yaml

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def build_parser() -> ArgumentParser:
    """Parser with every setting that a `config.yaml` may hold, its type and default."""
    from jsonargparse import ArgumentParser
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.loggers import Logger

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.loggers.wandb import Wandb

    parser = ArgumentParser(prog="python -m lit_inpaint.fit", exit_on_error=False, description="Train one run, or resume it.")
    parser.add_argument("--experiment", type=str, help="name of the experiment and of its folder below runs/")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, sample order, masks and augmentation")
    parser.add_argument("--init_from", type=str | None, default=None, help="checkpoint whose weights initialize the run")
    parser.add_subclass_arguments(Inpainter, "model", required=True, help="the paper and its hyperparameters")
    parser.add_subclass_arguments(InpaintingData, "data", required=True, help="images, masks and batches")
    parser.add_class_arguments(Trainer, "trainer", skip=set(RESERVED_TRAINER_ARGS), instantiate=False)
    parser.add_argument(
        "--protocol", type=str, default="lpi", help="metrics and mask-ratio buckets of validation and evaluation"
    )
    parser.add_argument(
        "--metrics",
        type=list[str],
        default=[],
        help="metrics beside the protocol's, as for `evaluate --metrics`: names, or import paths of your own",
    )
    parser.add_argument("--callbacks", type=list[Callback], default=[], help="your own callbacks, beside those of lit_inpaint")
    parser.add_argument("--loggers", type=list[Logger], default=[], help="your own loggers, beside those of lit_inpaint")
    parser.add_argument("--validation_loss", type=bool, default=True, help="log the generator's losses on the validation set")
    parser.add_argument(
        "--best_metric",
        type=str | None,
        default=None,
        help="logged value that chooses checkpoints/best.ckpt, such as val/ssim or val_loss/generator; null: the protocol's "
        "PSNR, else its first metric",
    )
    parser.add_argument(
        "--best_mode",
        type=Literal["max", "min"] | None,
        default=None,
        help="whether best.ckpt has the max or the min of best_metric; null: the better end of a metric of the protocol",
    )
    parser.add_argument("--tf32", type=bool, default=True, help="train with TF32 products on GPUs that have it")
    parser.add_argument(
        "--ema", type=float | None, default=None, help="decay of the generator's EMA after its warm-up; null for none"
    )
    parser.add_argument("--checkpoint_every", type=int, default=500, help="batches between two saves of checkpoints/last.ckpt")
    parser.add_argument("--num_samples", type=int, default=8, help="validation images in each grid of samples/")
    parser.add_argument("--sample_every", type=int, default=0, help="minimum batches between two grids; 0: at each validation")
    parser.add_argument("--tensorboard", type=bool, default=False, help="write event files to the run directory")
    parser.add_argument("--baselines", type=bool, default=False, help="include classical methods in the final evaluation")
    parser.add_argument(
        "--compare",
        type=list[str],
        default=[],
        help="checkpoints or model folders in the final evaluation too; shipped: the network of the package",
    )
    parser.add_class_arguments(Wandb, "wandb", help="Weights & Biases")
    return parser


def check(config: Config) -> Namespace:
    """Check a merged configuration against all signatures.

    `init_from` becomes absolute, so that the run's `config.yaml` names the same file from every folder.

    Raises:
        UserError: names the key and the mistake, and suggests a similar name.
    """
    from jsonargparse import ArgumentError

    _check_text(config, "")
    config = copy.deepcopy(config)  # jsonargparse changes its input
    data = config.get("data")
    if isinstance(data, dict) and isinstance(data.get("init_args", {}), dict):
        data.setdefault("init_args", {}).setdefault("seed", config.get("seed", 0))
    if isinstance(start := config.get("init_from"), str):
        config["init_from"] = _absolute(start)
    _state_defaults(config.get("model"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checked = cast("Namespace", build_parser().parse_object(config))
    except (ArgumentError, TypeError, ValueError) as error:
        raise UserError(format_config_error(str(error))) from None
    _check_groups(checked)
    _check_protocol(checked.protocol)
    _check_seed(checked.seed)
    _check_name(checked.experiment)
    return checked


def _check_text(value: object, key: str) -> None:
    """Reject paths whose bytes are not UTF-8: no YAML file can hold them."""
    if isinstance(value, dict):
        for name, item in value.items():
            _check_text(item, f"{key}.{name}".strip("."))
    elif isinstance(value, list):
        for item in value:
            _check_text(item, key)
    elif isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        name = key.replace(".init_args", "")
        raise UserError(
            f"{name} {value!r} has bytes that are not UTF-8, which a configuration cannot hold; rename it or link to it"
        )
    elif isinstance(value, str) and "&" in value and "*" in value:  # jsonargparse parses a text as YAML, with its anchors
        try:
            parse_yaml(value, key)
        except ExcessiveDataError:
            raise
        except UserError:
            pass  # a text that is no YAML


def _state_defaults(model: object) -> None:
    """Insert a paper's default stages and weights as plain data where the configuration does not set them.

    jsonargparse cannot dump objects in a tuple. With several papers in one process, each with a class `Weights`, jsonargparse
    4.53 sometimes replaces a default by None.
    """
    from lit_inpaint.settings import Stage, plain

    if not isinstance(model, dict) or not isinstance(arguments := model.setdefault("init_args", {}), dict):
        return
    module, _, name = str(model.get("class_path")).rpartition(".")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return  # the parser reports the wrong name
    for key, parameter in parameters.items():
        stages = isinstance(parameter.default, tuple) and any(isinstance(item, Stage) for item in parameter.default)
        if stages or key == "weights":
            arguments.setdefault(key, plain(parameter.default))


def _absolute(checkpoint: str) -> str:
    if not checkpoint:
        raise UserError("init_from is empty; give a checkpoint, or null for none")
    try:
        return str(Path(checkpoint).expanduser().absolute())  # links are not resolved: the target may change before a resume
    except RuntimeError as error:
        raise UserError(f"init_from: {checkpoint}: {error}") from None


def _check_protocol(name: str) -> None:
    from lit_inpaint.metrics import find_protocol

    try:
        find_protocol(name)
    except UserError as error:
        raise UserError(f"protocol: {error}") from None


def _check_seed(seed: int) -> None:
    from lit_inpaint.data.rng import MAX_SEED

    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed is {seed}, it must be from 0 to {MAX_SEED}")


def _check_name(experiment: str | None) -> None:
    """Reject a name that would lead out of the folder of all runs."""
    if experiment is not None and (not experiment.strip() or Path(experiment).is_absolute() or ".." in Path(experiment).parts):
        raise UserError(
            f"experiment is {experiment!r}; it names a folder below runs/, such as places2/lama (--run_dir names any folder)"
        )


def _check_groups(checked: Namespace) -> None:
    """Reject one value in place of a group of settings, such as `model.weights: 3`, which jsonargparse accepts."""
    groups = {"trainer": checked.trainer, "wandb": checked.wandb}
    for section in ("model", "data"):
        module, _, name = checked[section].class_path.rpartition(".")
        for key, parameter in inspect.signature(getattr(importlib.import_module(module), name)).parameters.items():
            if dataclasses.is_dataclass(parameter.default):
                groups[f"{section}.{key}"] = checked[section].init_args[key]
    for key, value in groups.items():
        if isinstance(value, bool | int | float | str | list):
            raise UserError(f"{key}: expected several settings ({key}.… each), got {value!r}")


def build(config: Namespace) -> Namespace:
    """Build `.model`, `.data`, `.wandb`, `.callbacks` and `.loggers` of a checked configuration; the rest stays plain.

    Raises:
        UserError: a constructor rejects its arguments.
    """
    from jsonargparse import ArgumentError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cast("Namespace", build_parser().instantiate(config))
    except (ArgumentError, ValueError, TypeError) as error:
        causes: list[BaseException] = [error]
        while causes[-1].__cause__ is not None:
            causes.append(causes[-1].__cause__)
        for cause in causes:
            if isinstance(cause, UserError):
                raise cause from None
        raise UserError(constructor_error(str(error)) or str(causes[-1])) from error


def dump(config: Namespace) -> str:
    """Dump a checked configuration as complete YAML, which needs no defaults to be replayed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tuples become lists, which the parser reads as tuples again
        return str(build_parser().dump(config, skip_unset=False, skip_validation=True))
