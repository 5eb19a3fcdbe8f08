"""Load experiment files: defaults, base and experiment merged, command-line options on top.

Everything here is plain nested dictionaries, so that the order of precedence is visible; `check_settings` compares the result
with the signatures afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lit_inpaint.errors import UserError, did_you_mean

Config = dict[str, Any]
SECTIONS = ("model", "data", "trainer", "ema", "wandb")


def experiments_dir() -> Path:
    """`experiments/` of the current folder, or else of the checkout that contains this package."""
    here = Path.cwd() / "experiments"
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / "experiments"


def find_experiment(name: str) -> Path:
    """Path of an experiment file, given by name or by path.

    Raises:
        UserError: the file does not exist; suggests similar names.
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
    other = {folder / name for name in ("data", "sweeps", "cluster")}  # parts of experiments, and ways to launch them
    return path.name != "defaults.yaml" and path.parent not in other


def load_experiment(name: str) -> Config:
    """Merge `defaults.yaml`, the experiment's `base` and the experiment; read sections that are given as a file name."""
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
    """Merge `over` into a copy of `base`, key by key; another `class_path` replaces the object and all its arguments.

    Arguments may leave out `class_path` and `init_args` if the class does not change, such as `{lr: 1e-3}` for an optimizer.
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
    """Whether `class_path` names another class than `base`; bare arguments in `base` belong to the default class."""
    bare = bool(base) and not {"class_path", "init_args"} & base.keys()
    return bare or base.get("class_path", class_path) != class_path


def override(config: Config, options: Sequence[str]) -> Config:
    """Apply command-line options such as `--model.blocks 4` or `--data.root=DIR` to a copy of `config`.

    A key may leave out `init_args`. `--seed` sets the data's seed too, unless that is given as well.

    Raises:
        UserError: an option has another form, or no value.
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
        _set(config, key.split("."), value)
    return config


def _set(config: Config, path: list[str], value: object) -> None:
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
