"""The configuration of a run: gathered, overridden, checked, built; what is wrong with it in one line.

It is gathered as plain nested dictionaries (`experiments/defaults.yaml`, the experiment with its `base`, then the options of
the command line), so that what overrides what can be seen here; jsonargparse then checks all of it against the signatures,
before any data is opened, and builds the objects.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from lit_inpaint.config.error_messages import RESERVED_TRAINER_ARGS, constructor_error, format_config_error
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.settings import Stage, plain

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

Config = dict[str, Any]
SECTIONS = ("model", "data", "trainer", "ema", "wandb")


def experiments_dir() -> Path:
    """`experiments/` of the current folder, else of the checkout that this package lies in."""
    here = Path.cwd() / "experiments"
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / "experiments"


def find_experiment(name: str) -> Path:
    """The file of an experiment, given by name or by path.

    Raises:
        UserError: there is none; lists the nearest names.
    """
    folder = experiments_dir()
    for path in (Path(name), folder / f"{name}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    names = sorted(
        str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml") if _is_experiment(path, folder)
    )
    raise UserError(f"no experiment {name!r} in {folder}{did_you_mean(name, names, n=3, cutoff=0.4) or ', which is empty'}")


def _is_experiment(path: Path, folder: Path) -> bool:
    beside = {folder / name for name in ("data", "sweeps", "cluster")}  # what experiments are made of, or made with
    return path.name != "defaults.yaml" and path.parent not in beside


def load_experiment(name: str) -> Config:
    """Defaults, then what the experiment builds on (`base`), then the experiment; sections given as a file name are read."""
    path = find_experiment(name)
    defaults = experiments_dir() / "defaults.yaml"
    config = _read(defaults) if defaults.is_file() else {}
    config = merge(config, _with_base(path))
    folder = experiments_dir().resolve()
    inside = path.resolve().is_relative_to(folder)
    config.setdefault("experiment", path.resolve().relative_to(folder).with_suffix("").as_posix() if inside else path.stem)
    return config


def _with_base(path: Path) -> Config:
    config = _read(path)
    if {"method", "parameters"} <= config.keys():
        raise UserError(f"{path} is a sweep; start it with `wandb sweep {path}`, then the `wandb agent …` that it prints")
    base = config.pop("base", None)
    for section in SECTIONS:
        if isinstance(config.get(section), str) and config[section].endswith((".yaml", ".yml")):
            config[section] = _with_base(path.parent / config[section])
    return merge(_with_base(path.parent / base), config) if base else config


def _read(path: Path) -> Config:
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold sections such as model: and data:, not {type(config).__name__}")
    return config


def merge(base: Config, over: Config) -> Config:
    """`over` on top of `base`, key by key; another `class_path` replaces the whole object with all arguments of the old one.

    Arguments may stand bare where the class is the one that would be taken anyway, `{lr: 1e-3}` for an optimizer, say.
    """
    if "class_path" in over and _replaces(over["class_path"], base):
        return copy.deepcopy(over)
    if "class_path" in base and not {"class_path", "init_args"} & over.keys():
        over = {"init_args": over}
    merged = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _replaces(class_path: object, base: Config) -> bool:
    """Whether an object of `class_path` is another than `base`, which may name its class or be the default's bare arguments."""
    bare = bool(base) and not {"class_path", "init_args"} & base.keys()
    return bare or base.get("class_path", class_path) != class_path


def override(config: Config, options: Sequence[str]) -> Config:
    """`config` with command-line options such as `--model.blocks 4` or `--data.root=DIR` on top.

    Arguments of an object may leave `init_args` out. `--seed` is also the data's seed, unless that is given too.

    Raises:
        UserError: an option that is not of this form, or has no value.
    """
    config = copy.deepcopy(config)
    rest = list(options)
    while rest:
        option = rest.pop(0)
        if not option.startswith("--"):
            raise UserError(f"unexpected argument {option!r}: options look like --data.root DIR")
        key, equals, text = option[2:].partition("=")
        if not all(key.split(".")):
            raise UserError(f"unexpected argument {option!r}: options look like --data.root DIR")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"--{key} needs a value")
            text = rest.pop(0)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if key == "seed":
            config.get("data", {}).get("init_args", {}).pop("seed", None)
        _place(config, key.split("."), value)
    return config


def _place(config: Config, path: list[str], value: object) -> None:
    for depth, name in enumerate(path):
        if "class_path" in config and name not in ("class_path", "init_args"):
            config = config.setdefault("init_args", {})
        if depth == len(path) - 1:
            if name == "class_path" and _replaces(value, config):
                config.clear()
            config[name] = value
        else:
            if not isinstance(config.get(name), dict):
                config[name] = {}
            config = config[name]


def build_parser() -> ArgumentParser:
    """The complete shape of a configuration: everything a `config.yaml` may say, with its types and defaults."""
    from jsonargparse import ArgumentParser
    from lightning.pytorch import Trainer

    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine.inpainter import Inpainter
    from lit_inpaint.loggers.wandb import Wandb

    parser = ArgumentParser(prog="python -m lit_inpaint.fit", exit_on_error=False, description=__doc__)
    parser.add_argument("--experiment", type=str, help="name of the experiment, which names its folder below runs/")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, masks and augmentation")
    parser.add_argument("--init_from", type=str | None, default=None, help="checkpoint whose weights the run starts from")
    parser.add_subclass_arguments(Inpainter, "model", required=True, help="the paper and its hyperparameters")
    parser.add_subclass_arguments(InpaintingData, "data", required=True, help="images, masks and batches")
    parser.add_class_arguments(Trainer, "trainer", skip=set(RESERVED_TRAINER_ARGS), instantiate=False)
    parser.add_argument("--ema", type=float | None, default=None, help="decay of the generator's moving average; null for none")
    parser.add_argument("--checkpoint_every", type=int, default=500, help="batches between two writes of checkpoints/last.ckpt")
    parser.add_argument("--num_samples", type=int, default=8, help="validation images in each grid of samples/")
    parser.add_argument("--sample_every", type=int, default=0, help="batches at least between two grids; 0: at each validation")
    parser.add_argument("--tensorboard", type=bool, default=False, help="event files in the run folder's tensorboard/")
    parser.add_argument("--baselines", type=bool, default=False, help="classical methods in the closing table")
    parser.add_class_arguments(Wandb, "wandb", help="Weights & Biases")
    return parser


def check(config: Config) -> Namespace:
    """Hold a gathered configuration against all signatures.

    `init_from` becomes absolute, so that the run's `config.yaml` names the same file from every folder.

    Raises:
        UserError: one line that names the key, what is wrong with it, and the nearest right name.
    """
    from jsonargparse import ArgumentError

    config = copy.deepcopy(config)  # jsonargparse writes into what it reads
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
    return checked


def _state_defaults(model: object) -> None:
    """Write a paper's own stages and weights out as data where nothing is said of them.

    jsonargparse cannot write objects in a tuple. Of several papers in one process, each with a class `Weights`, it now and then
    takes a default for None (4.53).
    """
    if not isinstance(model, dict) or not isinstance(arguments := model.setdefault("init_args", {}), dict):
        return
    module, _, name = str(model.get("class_path")).rpartition(".")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return  # the parser says what is wrong with the name
    for key, parameter in parameters.items():
        stages = isinstance(parameter.default, tuple) and any(isinstance(item, Stage) for item in parameter.default)
        if stages or key == "weights":
            arguments.setdefault(key, plain(parameter.default))


def _absolute(checkpoint: str) -> str:
    if not checkpoint:
        raise UserError("init_from is empty; name a checkpoint, or null for none")
    try:
        return str(Path(checkpoint).expanduser().absolute())  # links stay: one may be gone when the run goes on
    except RuntimeError as error:
        raise UserError(f"init_from: {checkpoint}: {error}") from None


def _check_groups(checked: Namespace) -> None:
    """Refuse one value where several settings belong, such as `model.weights: 3`, which jsonargparse lets pass."""
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
    """The objects of a checked configuration: `.model`, `.data`, `.wandb`; the trainer's options stay as they are.

    Raises:
        UserError: an object refuses its arguments.
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
    """A checked configuration as YAML, complete: replaying it needs no defaults."""
    return str(build_parser().dump(config, skip_unset=False))
