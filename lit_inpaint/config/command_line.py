"""What the verbs besides `fit` take from the command line in the same way."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import yaml

from lit_inpaint.config import check_settings, load_yaml
from lit_inpaint.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData


class CommandParser(argparse.ArgumentParser):
    """`argparse` whose complaints are one line, like all others.

    Args:
        verb: as in `python -m lit_inpaint.<verb>`.
        description: for `--help`.
        epilog: lines printed as they stand below the options.
    """

    def __init__(self, verb: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"python -m lit_inpaint.{verb}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise `UserError` in place of printing the usage."""
        raise UserError(f"{message} (--help lists all options)")

    def parse_with_data(self, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse `argv`; what is left are the `--data.…` options and their values.

        Raises:
            UserError: something else is left, naming the nearest option.
        """
        options, rest = self.parse_known_args(argv)
        known = [option for action in self._actions for option in action.option_strings]
        for place, word in enumerate(rest):
            value_of_data = place > 0 and rest[place - 1].startswith("--data.") and "=" not in rest[place - 1]
            if word.startswith("--data.") or (value_of_data and not word.startswith("--")):
                continue
            if not word.startswith("-"):
                raise UserError(f"unexpected argument {word!r} (--help lists all options)")
            raise UserError(f"unknown option {word}{did_you_mean(word.partition('=')[0], known)} (--help lists all options)")
        return options, rest


def whole_number(least: int) -> Callable[[str], int]:
    """A type for `add_argument`: an integer of at least `least`."""

    def parse(text: str) -> int:
        number = int(text) if text.strip().lstrip("+-").isdecimal() else None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
        return number

    return parse


def build_data(config: load_yaml.Config, options: Sequence[str]) -> tuple[InpaintingData, dict[str, Any]]:
    """The data of a configuration, without building its network.

    Args:
        config: as `configuration.load_experiment` gathers it.
        options: `--data.…` options and their values, which come on top.

    Returns:
        The data module, and its complete section of the configuration as plain data.

    Raises:
        UserError: the configuration or an option is wrong.
    """
    from jsonargparse import Namespace

    checked = check_settings.check(load_yaml.override(config, options))
    section: dict[str, Any] = yaml.safe_load(check_settings.dump(checked))["data"]
    return cast("InpaintingData", check_settings.build(cast(Any, Namespace)(data=checked.data)).data), section
