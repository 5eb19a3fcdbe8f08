"""Parse mask sources given on the command line: `--masks SPEC …` of `preview`."""

from __future__ import annotations

import inspect
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lit_inpaint.config.error_messages import constructor_error, format_config_error
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.plain_data import parse_yaml

if TYPE_CHECKING:
    from lit_inpaint.masks import MaskSource


def parse_mask_sources(specs: Sequence[str]) -> list[MaskSource]:
    """Build the mask sources that `specs` name.

    Args:
        specs: each a class of `lit_inpaint.masks`, an import path, a folder of mask files, a YAML mapping with `class_path` and
            options, or `all`: every class that has no required option. None at all means `all`.

    Raises:
        UserError: a source does not exist, or its options are invalid.
    """
    from lit_inpaint import masks

    exported = (getattr(masks, name) for name in masks.__all__)
    known: dict[str, type[MaskSource]] = {
        item.__name__: item
        for item in exported
        if inspect.isclass(item) and issubclass(item, masks.MaskSource) and not inspect.isabstract(item)
    }
    without_required = [name for name, source in known.items() if not _has_required_option(source)]
    return [_parse_source(name, known) for spec in specs or ["all"] for name in (without_required if spec == "all" else [spec])]


def _has_required_option(source: type[MaskSource]) -> bool:
    return any(parameter.default is parameter.empty for parameter in inspect.signature(source).parameters.values())


def _parse_source(spec: str, known: dict[str, type[MaskSource]]) -> MaskSource:
    from jsonargparse import ArgumentError, ArgumentParser

    from lit_inpaint.masks import MaskSource

    parsed = _nest_init_args(parse_yaml(spec, f"--masks {spec}"))
    if isinstance(parsed, str):
        is_folder = _is_folder(parsed, known)
        parsed = {"class_path": "RandomFromFolder", "init_args": {"root": parsed}} if is_folder else {"class_path": parsed}
    if not isinstance(parsed, dict) or not isinstance(name := parsed.get("class_path"), str):
        raise UserError(f"--masks {spec}: expected the name of a source, a folder, or {{class_path: NAME, init_args: {{…}}}}")
    if "." not in name and name not in known:
        raise UserError(f"--masks: no source or folder {name!r}{did_you_mean(name, known, n=3, cutoff=0.4)}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--masks", type=MaskSource)
    try:
        return cast(MaskSource, parser.instantiate(parser.parse_object({"masks": parsed})).masks)
    except (ArgumentError, TypeError, ValueError) as error:
        message = constructor_error(str(error)) or format_config_error(str(error))
        message = message.removeprefix('Parser key "masks": ').removeprefix("masks: ")
        raise UserError(f"--masks {spec}: {message}") from None


def _nest_init_args(parsed: object) -> object:
    """Move bare options of each class below `init_args`, where jsonargparse expects them."""
    if isinstance(parsed, list):
        return [_nest_init_args(item) for item in parsed]
    if not isinstance(parsed, dict):
        return parsed
    parsed = {key: _nest_init_args(value) for key, value in parsed.items()}
    options = {key: value for key, value in parsed.items() if key not in ("class_path", "init_args")}
    if "class_path" not in parsed or not options or not isinstance(given := parsed.get("init_args", {}), dict):
        return parsed
    return {"class_path": parsed["class_path"], "init_args": given | options}


def _is_folder(text: str, known: Container[str]) -> bool:
    """Return whether `text` names a folder, existing or not, and no class."""
    if text in known:
        return False
    try:
        return text.startswith(("~", ".")) or "/" in text or Path(text).is_dir()
    except OSError:  # longer than a file name may be
        return False
