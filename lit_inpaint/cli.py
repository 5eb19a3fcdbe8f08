"""What the verbs share: configuration, mistakes in one line, and the process's own settings.

A configuration is gathered as plain nested dictionaries (`experiments/defaults.yaml`, the experiment with its `base`, then the options
of the command line), so that what overrides what can be seen here; jsonargparse then checks all of it against the signatures, before
any data is opened, and builds the objects.
"""

from __future__ import annotations

import copy
import ctypes
import difflib
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from lit_inpaint.types import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

Config = dict[str, Any]
SECTIONS = ("model", "data", "trainer", "ema", "wandb")


def run_verb(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a verb's `main` on the command line and exit: 2 and one line for a user's mistake, 130 for Ctrl-C."""
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as mistake:
        sys.exit(_complain(str(mistake)))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2


# Configuration --------------------------------------------------------------------------------------------------------------


def experiments_folder() -> Path:
    """`experiments/` of the current folder, else of the checkout that this package lies in."""
    here = Path.cwd() / "experiments"
    return here if here.is_dir() else Path(__file__).resolve().parent.parent / "experiments"


def find_experiment(name: str) -> Path:
    """The file of an experiment, given by name or by path.

    Raises:
        UserError: there is none; lists the nearest names.
    """
    folder = experiments_folder()
    for path in (Path(name), folder / f"{name}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    names = sorted(
        str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml") if _is_experiment(path, folder)
    )
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise UserError(f"no experiment {name!r} in {folder}; the nearest are {', '.join(near) or '(none: the folder is empty)'}")


def _is_experiment(path: Path, folder: Path) -> bool:
    return path.name != "defaults.yaml" and path.parent != folder / "data"


def load_experiment(name: str) -> Config:
    """Defaults, then what the experiment builds on (`base`), then the experiment; sections given as a file name are read."""
    path = find_experiment(name)
    defaults = experiments_folder() / "defaults.yaml"
    config = _read(defaults) if defaults.is_file() else {}
    config = merge(config, _with_base(path))
    config.setdefault("experiment", path.stem)
    return config


def _with_base(path: Path) -> Config:
    config = _read(path)
    base = config.pop("base", None)
    for section in SECTIONS:
        if isinstance(config.get(section), str) and config[section].endswith((".yaml", ".yml")):
            config[section] = _read(path.parent / config[section])
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
    """`over` on top of `base`, key by key; another `class_path` replaces the whole object, so no argument of the old one stays."""
    if "class_path" in over and over["class_path"] != base.get("class_path"):
        return copy.deepcopy(over)
    merged = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


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
            if name == "class_path" and config.get("class_path", value) != value:
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

    from lit_inpaint.callbacks import Wandb
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.engine import Inpainter

    parser = ArgumentParser(prog="python -m lit_inpaint.fit", exit_on_error=False, description=__doc__)
    parser.add_argument("--experiment", type=str, help="name of the experiment, which names its folder below runs/")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, masks and augmentation")
    parser.add_subclass_arguments(Inpainter, "model", required=True, help="the paper and its hyperparameters")
    parser.add_subclass_arguments(InpaintingData, "data", required=True, help="images, masks and batches")
    ours = {"logger", "callbacks", "default_root_dir", "plugins", "enable_checkpointing", "use_distributed_sampler"}
    refused = {"gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches"}  # by manual optimization
    odd = {"fast_dev_run", "barebones", "model_registry", "enable_autolog_hparams", "reload_dataloaders_every_n_epochs"}
    parser.add_class_arguments(Trainer, "trainer", skip=ours | refused | odd, instantiate=False)
    parser.add_argument("--ema", type=float | None, default=None, help="decay of the generator's moving average; null for none")
    parser.add_argument("--save_every", type=int, default=500, help="batches between two writes of checkpoints/last.ckpt")
    parser.add_argument("--sample_rows", type=int, default=8, help="validation images in each grid of samples/")
    parser.add_argument("--baselines", type=bool, default=False, help="classical methods in the closing table")
    parser.add_class_arguments(Wandb, "wandb", help="Weights & Biases")
    return parser


def check(config: Config) -> Namespace:
    """Hold a gathered configuration against all signatures.

    Raises:
        UserError: one line that names the key, what is wrong with it, and the nearest right name.
    """
    from jsonargparse import ArgumentError

    config = copy.deepcopy(config)  # jsonargparse writes into what it reads
    data = config.get("data")
    if isinstance(data, dict) and isinstance(data.get("init_args", {}), dict):
        data.setdefault("init_args", {}).setdefault("seed", config.get("seed", 0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build_parser().parse_object(config)
    except (ArgumentError, TypeError, ValueError) as error:
        raise UserError(readable(str(error))) from None


def readable(error: str) -> str:
    """The one line of jsonargparse's tree of complaints that the user can act on, with the whole key before it."""
    keys = re.findall(r'Parser key "([\w.]+)"', error)
    key = ".".join(keys)
    if match := re.search(r"Option '([\w.]+)' is not accepted", error):
        return f"unknown key '{'.'.join([*keys, match[1]])}'" + _nearest(match[1], _accepted(error))
    if match := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", error):
        full = ".".join([*keys, match[1], match[2]])
        return f"unknown key '{full}'" + _nearest(match[2], _accepted(error, match[1]))
    if match := re.search(r"Problem with given class_path '[^']+':\s+(module '[^']+' has no attribute '\w+'|No module[^\n]+)", error):
        return f"{key}.class_path: {match[1]}"
    if match := re.search(r"Expected a (?:<class '([\w.]+)'>|typing\.Literal(\[[^\]]+\]))\. Got value: (.*)", error):
        wanted = match[1].rsplit(".", 1)[-1] if match[1] else f"one of {match[2]}"
        return f"{key}: expected {wanted}, got {match[3]!r}"
    if match := re.search(r"required: (.*)", error):
        return f"the configuration lacks {match[1]}; start from --experiment NAME"
    values = re.findall(r"Given value: (.*)", error)
    kinds = [kind for kind in re.findall(r"Expected a (?:<class '([\w.]+)'>|typing\.Literal(\[[^\]]+\]))", error)]
    wanted = " or ".join(dict.fromkeys((a.rsplit(".", 1)[-1] or f"one of {b}").replace("NoneType", "null") for a, b in kinds))
    if key and values and wanted:
        return f"{key}: expected {wanted}, got {values[0]!r}"
    return " ".join(error.split())


def _accepted(error: str, group: str | None = None) -> list[str]:
    """Names that the innermost class of a complaint takes."""
    classes = re.findall(r"class_path '([\w.]+)'", error)
    if not classes:
        if group == "trainer":
            from lightning.pytorch import Trainer

            return list(inspect.signature(Trainer).parameters)
        return [] if group else ["experiment", "seed", *SECTIONS, "save_every", "sample_rows", "baselines"]
    module, _, name = classes[-1].rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    if group is None:
        return list(parameters)
    default = parameters[group].default if group in parameters else None
    return list(getattr(default, "__dataclass_fields__", {}))


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean '{near[0]}'?" if near else (f"; there are {', '.join(names)}" if names else "")


def build(config: Namespace) -> Namespace:
    """The objects of a checked configuration: `.model`, `.data`, `.wandb`; the trainer's options stay as they are.

    Raises:
        UserError: an object refuses its arguments.
    """
    from jsonargparse import ArgumentError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build_parser().instantiate(config)
    except (ArgumentError, ValueError, TypeError) as error:
        causes: list[BaseException] = [error]
        while causes[-1].__cause__ is not None:
            causes.append(causes[-1].__cause__)
        for cause in causes:
            if isinstance(cause, UserError):
                raise cause from None
        raise UserError(str(causes[-1])) from error


def dump(config: Namespace) -> str:
    """A checked configuration as YAML, complete: replaying it needs no defaults."""
    return str(build_parser().dump(config, skip_unset=False))


# The process ----------------------------------------------------------------------------------------------------------------


def quieten() -> None:
    """Hide what libraries say that no user of ours can act on; mistakes and our own lines stay."""
    import logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for text in (
        ".*does not have many workers.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*dataloader is not resumable.*",  # ours starts at the right sample, see lit_inpaint.data.sampler
        ".*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Found .* module\\(s\\) in eval mode.*",
    ):
        warnings.filterwarnings("ignore", message=text)

    def worth_reading(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        return not line.startswith(("💡", "GPU available: False", "TPU available", "HPU available", "`Trainer.fit` stopped"))

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).addFilter(worth_reading)


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory instead of giving it back, on Linux; elsewhere nothing.

    Activations of tens of megabytes are otherwise mapped and page-faulted anew at every step: measured 1.5 times slower training
    of LPI-Net on two cores (`tests/benchmarks/memory_layout.py`).
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_top_pad, 256 * 2**20)
