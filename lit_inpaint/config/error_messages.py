"""One-line messages for mistakes in a configuration, made from jsonargparse's long ones."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

from lit_inpaint.errors import did_you_mean

_SECTIONS = ("experiment", "seed", "init_from", "model", "data", "trainer")
TOP = (
    *_SECTIONS,
    "protocol",
    "metrics",
    "callbacks",
    "loggers",
    "validation_loss",
    "best_metric",
    "best_mode",
    "tf32",
    "ema",
    "checkpoint_every",
    "num_samples",
    "sample_every",
    "tensorboard",
    "baselines",
    "compare",
    "wandb",
)
"""Top-level keys of a configuration."""

_INTERNAL = "lit_inpaint sets it"
_PER_PLAYER = "use model.training.clip_generator or model.training.clip_discriminator"
RESERVED_TRAINER_ARGS = {
    "callbacks": "list yours under callbacks, at the top level; they are added to lit_inpaint's",
    "logger": "list yours under loggers, at the top level; they are added to lit_inpaint's",
    **dict.fromkeys(("default_root_dir", "plugins", "enable_checkpointing"), _INTERNAL),
    **dict.fromkeys(("use_distributed_sampler", "enable_autolog_hparams", "reload_dataloaders_every_n_epochs"), _INTERNAL),
    **dict.fromkeys(("gradient_clip_val", "gradient_clip_algorithm"), _PER_PLAYER),
    "accumulate_grad_batches": "it does not exist for two optimizers; raise data.batch_size",
    **dict.fromkeys(("fast_dev_run", "barebones"), "for a short run use --trainer.max_steps 2"),
    "model_registry": _INTERNAL,
}
"""Arguments of Lightning's Trainer that a configuration may not set, and the alternative for each."""


def format_config_error(error: str) -> str:
    """Reduce jsonargparse's message to one line that names the full key and the mistake."""
    keys = re.findall(r'Parser key "([\w.]+)"', error)
    key = ".".join(keys)
    if match := re.search(r"Option '([\w.]+)' is not accepted", error):
        name = match[1].partition(".")[0]
        return f"unknown key '{'.'.join([*keys, name])}'" + did_you_mean(name, _accepted(error))
    if match := re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", error):
        full = ".".join([*keys, match[1], match[2]])
        if match[1] == "trainer" and match[2] in RESERVED_TRAINER_ARGS:
            return f"unknown key '{full}'; {RESERVED_TRAINER_ARGS[match[2]]}"
        return f"unknown key '{full}'" + did_you_mean(match[2], _accepted(error, match[1]))
    if match := re.search(
        r"Problem with given class_path '[^']+':\s+(module '[^']+' has no attribute '\w+'|No module[^\n]+)", error
    ):
        return f"{key}.class_path: {match[1]}"
    if match := re.search(r"Expected a (?:<class '([\w.]+)'>|typing\.Literal(\[[^\]]+\]))\. Got value: (.*)", error):
        wanted = match[1].rsplit(".", 1)[-1] if match[1] else f"one of {match[2]}"
        return f"{key}: expected {wanted}, got {match[3]!r}"
    values = re.findall(r"Given value: (.*)", error)
    if re.search(
        r"(- Expected a dot import path|- Import path \S+ does not correspond|Not a valid subclass| is abstract\n)", error
    ):
        wanted, known = _one_of_classes(error)
        got = min(values, key=len, default="something else")
        return f"{key}: expected {wanted}, got {got}" + (f"; there are {known}" if known else "")
    if match := re.search(r"(?<!- )Expected a dot import path string: (\S+)", error):
        return f"{key}: there is no class {match[1]!r}; give its import path, such as lit_inpaint.settings.Adam"
    if match := re.search(r"class_path '[\w.]*?(\w+)':\s+the following arguments are required: (.*)", error):
        return f"{key}: {match[1]} needs {match[2]}"
    if match := re.search(r"required: (.*)", error):
        return f"the configuration lacks {match[1]}; start from --experiment NAME"
    kinds = re.findall(r"Expected a (?:<class '([\w.]+)'>|typing\.Literal(\[[^\]]+\]))", error)
    wanted = " or ".join(dict.fromkeys((a.rsplit(".", 1)[-1] or f"one of {b}").replace("NoneType", "null") for a, b in kinds))
    if key and values and wanted:
        return f"{key}: expected {wanted}, got {values[0]!r}"
    return " ".join(error.split())


def constructor_error(error: str) -> str | None:
    """Extract the message of a constructor from jsonargparse's list of attempted types; None without one."""
    message = re.search(r"^\s*- (?!Expected a |Does not validate |Problem with )(.+)$", error, re.MULTILINE)
    return message[1] if message else None


def _one_of_classes(error: str) -> tuple[str, str]:
    """The types that the innermost failed value accepts, and the existing subclasses, both as text."""
    wanted, known = [], []
    for kind in re.findall(r"<class '([\w.]+)'>", re.findall(r"Subtypes: \[(.*)\]", error)[-1]):
        module, _, name = kind.rpartition(".")
        if module:
            known += sorted(_concrete(getattr(importlib.import_module(module), name)))
            wanted.append(f"the class_path of a subclass of {name}")
        elif name != "NoneType":
            wanted.append(name)
    return " or ".join(wanted), ", ".join(known)


def _concrete(kind: type) -> Iterator[str]:
    """Names of all concrete subclasses of `kind`."""
    subclasses: list[type] = kind.__subclasses__()
    for cls in subclasses:
        if not inspect.isabstract(cls):
            yield cls.__name__
        yield from _concrete(cls)


def _accepted(error: str, group: str | None = None) -> list[str]:
    """Argument names of the innermost class in the message."""
    classes = re.findall(r"class_path '([\w.]+)'", error)
    if not classes:
        if group == "trainer":
            from lightning.pytorch import Trainer

            return [name for name in inspect.signature(Trainer).parameters if name not in RESERVED_TRAINER_ARGS]
        if group == "wandb":
            from lit_inpaint.loggers.wandb import Wandb

            return list(inspect.signature(Wandb).parameters)
        return [] if group else list(TOP)
    module, _, name = classes[-1].rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    if group is None:
        return list(parameters)
    default = parameters[group].default if group in parameters else None
    return list(getattr(default, "__dataclass_fields__", {}))
