"""Load experiment files: defaults, base and experiment merged, command-line options on top.

Everything here is plain nested dictionaries, so that the order of precedence is visible; `check_settings` compares the result
with the signatures afterwards.
"""

from __future__ import annotations

import copy
import importlib
import typing
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from lit_inpaint.config.error_messages import TOP
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.plain_data import parse_yaml, read_yaml
from lit_inpaint.storage.user_path import real_path, user_path

Config = dict[str, Any]
SECTIONS = ("model", "data", "trainer", "ema", "wandb")


def experiment_dirs() -> list[Path]:
    """`experiments/` of the current folder, if there is one, then the experiments that come with the package."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "experiments"  # in a wheel; a checkout has them beside the package
    dirs = [Path.cwd() / "experiments", shipped if shipped.is_dir() else package.parent / "experiments"]
    return list({real_path(folder): folder for folder in dirs if folder.is_dir()}.values())


def find_experiment(name: str) -> Path:
    """Path of an experiment file, given by path or by its name in one of `experiment_dirs()`.

    Raises:
        UserError: the file does not exist; suggests similar names.
    """
    for path in (user_path(name), *(folder / f"{name}.yaml" for folder in experiment_dirs())):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    dirs = " or ".join(map(str, experiment_dirs()))
    raise UserError(f"no experiment {name!r} in {dirs}{did_you_mean(name, experiment_names(), n=3, cutoff=0.4)}")


def experiment_names() -> list[str]:
    """Names of all experiments that `find_experiment` finds without a path, sorted."""
    files = [(folder, path) for folder in experiment_dirs() for path in folder.rglob("*.yaml") if _is_experiment(path, folder)]
    return sorted({path.relative_to(folder).with_suffix("").as_posix() for folder, path in files})


def _is_experiment(path: Path, folder: Path) -> bool:
    other = {folder / name for name in ("data", "sweeps", "cluster")}  # parts of experiments, and ways to launch them
    return path.name != "defaults.yaml" and path.parent not in other


def load_experiment(name: str) -> Config:
    """Merge the defaults, the experiment's `base` and the experiment; read sections that are given as a file name.

    The package's `defaults.yaml` comes first, then that of the current folder's `experiments/`.
    """
    path = find_experiment(name)
    config: Config = {}
    for folder in reversed(experiment_dirs()):
        if (folder / "defaults.yaml").is_file():
            config = merge(config, _read_defaults(folder / "defaults.yaml"))
    config = merge(config, _with_base(path))
    inside = [real_path(folder) for folder in experiment_dirs() if real_path(path).is_relative_to(real_path(folder))]
    named = real_path(path).relative_to(inside[0]) if inside else Path(path.name)
    config.setdefault("experiment", named.with_suffix("").as_posix())
    return config


def _read_defaults(path: Path) -> Config:
    """Read a `defaults.yaml`. No option names it, and the current folder may be of another program."""
    config = _read(path)
    if unknown := [str(key) for key in config if key not in TOP]:
        which = f"has unknown keys ({', '.join(unknown)})"
        raise UserError(
            f"{path} {which}, but settings for all experiments are read from it; rename it or start in another folder"
        )
    return config


def _with_base(path: Path, outer: tuple[Path, ...] = ()) -> Config:
    """Read an experiment, or a section of one, and the files that it names; `outer` are those that lead to it."""
    if real_path(path) in outer:
        names = " -> ".join(map(str, (*outer, real_path(path))))
        raise UserError(f"{path} leads back to itself ({names}); remove one `base` or file name")
    outer = (*outer, real_path(path))
    config = _read(path)
    if {"method", "parameters"} <= config.keys():
        raise UserError(f"{path} is a sweep; start it with `wandb sweep {path}`, then the `wandb agent …` that it prints")
    base = config.pop("base", None)
    if not isinstance(base, str | None):
        raise UserError(f"{path} has the base {base!r}; name one file")
    for section in SECTIONS:
        if isinstance(config.get(section), str) and config[section].endswith((".yaml", ".yml")):
            config[section] = _with_base(_beside(path, config[section]), outer)
    return merge(_with_base(_beside(path, base), outer), config) if base else config


def _beside(path: Path, name: str) -> Path:
    """A file that `path` names: relative to its own folder, or else to one of the folders of experiments; ".yaml" may lack."""
    candidates = [folder / f"{name}{ending}" for folder in (path.parent, *experiment_dirs()) for ending in ("", ".yaml")]
    for found in (Path.is_file, Path.exists):  # the latter for what cannot be read: its own error says why
        if files := [file for file in candidates if found(file)]:
            return files[0]
    dirs = " or ".join(map(str, (path.parent, *experiment_dirs())))
    known = {file.relative_to(folder).as_posix() for folder in experiment_dirs() for file in folder.rglob("*.yaml")}
    near = did_you_mean(name, get_close_matches(name, sorted(known)))  # the list of all files is long
    raise UserError(f"{path} names {name!r}, which is not in {dirs}{near}")


def _read(path: Path) -> Config:
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold sections such as model: and data:, not {type(config).__name__}")
    if strange := [key for key in config if not isinstance(key, str)]:
        raise UserError(f"{path} has the key {strange[0]!r}; keys are names such as model and data")
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

    A key may leave out `init_args`. Values are YAML, but a setting of type `str` takes its text as typed. `--seed` sets the
    data's seed too, unless `--data.seed` is given as well.

    Raises:
        UserError: an option has another form, or no value.
    """
    config = copy.deepcopy(config)
    values: list[tuple[list[str], str]] = []
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
        if not text:
            raise UserError(f"--{key} has an empty value; is it a shell variable that is not set? (null stands for none)")
        values.append((key.split("."), text))
    if any(path == ["seed"] for path, _ in values):
        config.get("data", {}).get("init_args", {}).pop("seed", None)
    for path, text in values:
        _set(config, path, text)
    return config


def _set(config: Config, path: list[str], text: str) -> None:
    *parents, key = path
    node, owner = config, ""
    for name in parents:
        node = _arguments(node, name)
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
        owner = str(node.get("class_path", "")) if name != "init_args" else owner
    value = _parse_value(text, parents[:1], owner, key)
    node = _arguments(node, key)
    if key == "class_path" and _replaces(value, node):
        node.clear()
    node[key] = value


def _arguments(node: Config, key: str) -> Config:
    """The dictionary that `key` belongs to: `init_args` of an object, else `node` itself."""
    return node.setdefault("init_args", {}) if "class_path" in node and key not in ("class_path", "init_args") else node


def _parse_value(text: str, section: list[str], owner: str, key: str) -> object:
    """The value of an option: YAML, or the text itself for a setting of type `str`."""
    try:
        value = parse_yaml(text, "the value")
    except UserError:
        return text
    if value == text or text == "null":
        return value
    return text if _is_text(section, owner, key) else value


def _is_text(section: list[str], owner: str, key: str) -> bool:
    """Whether a setting accepts `str` (or `str | None`) and nothing else."""
    cls: object = None
    if not section:
        return key in ("experiment", "init_from", "protocol", "best_metric")
    if section == ["trainer"]:
        from lightning.pytorch import Trainer

        cls = Trainer
    elif section == ["wandb"]:
        from lit_inpaint.loggers.wandb import Wandb

        cls = Wandb
    elif owner:
        module, _, name = owner.rpartition(".")
        try:
            cls = getattr(importlib.import_module(module or f"lit_inpaint.{section[0]}"), name)
        except (ImportError, AttributeError, ValueError):
            return False  # the check reports the wrong name
    try:
        hint = typing.get_type_hints(cast(Any, cls).__init__).get(key)
    except (AttributeError, NameError, TypeError):
        return False
    return set(typing.get_args(hint) or (hint,)) - {type(None)} == {str}
