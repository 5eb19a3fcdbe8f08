"""Load the configuration of a data set that the command line names: `--data DIR|CLASS|FILE` of `prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_inpaint.config import load_yaml
from lit_inpaint.errors import UserError

_FOLDER = "lit_inpaint.data.Folder"


def load_dataset(data: str, options: Sequence[str]) -> load_yaml.Config:
    """Load the configuration for `data`.

    Args:
        data: a folder of images, a class of data set by name or import path, or a YAML file.
        options: the `--data.…` options that will override the configuration.

    Raises:
        UserError: `data` is none of these, or names a second folder beside `--data.root`.
    """
    # A configuration is checked as a whole, so it needs a model; that is not built.
    model = {"model": {"class_path": "lit_inpaint.papers.LPINet"}}
    if data.endswith((".yaml", ".yml")):
        config = load_yaml.load_experiment(data)
        if "data" in config:
            return model | config
        section = {"class_path": _FOLDER, **{key: config[key] for key in ("class_path", "init_args") if key in config}}
    elif Path(data).exists():
        if any(option.partition("=")[0] == "--data.root" for option in options):
            raise UserError(f"--data {data} and --data.root name two folders; leave one out")
        section = {"class_path": _FOLDER, "init_args": {"root": data}}
    else:
        section = {"class_path": _class_path(data)}
    return model | {"data": section}


def _class_path(name: str) -> str:
    """Import path of a data set, given by its import path or its name."""
    from lit_inpaint import data

    known = [key for key, value in vars(data).items() if isinstance(value, type) and issubclass(value, data.InpaintingData)]
    known.remove("InpaintingData")
    if name in known:
        return f"lit_inpaint.data.{name}"
    if "/" in name or "." not in name.strip("."):
        raise UserError(f"--data {name}: there is no such folder, and the data sets are {', '.join(sorted(known))}")
    return name
