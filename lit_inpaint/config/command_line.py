"""Command-line parsing shared by all commands except `fit`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

import yaml

from lit_inpaint.config import check_settings, load_yaml
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.user_path import user_path

if TYPE_CHECKING:
    from lit_inpaint.data import InpaintingData


class CommandParser(argparse.ArgumentParser):
    """`argparse` parser that reports mistakes as `UserError`.

    Args:
        command: name, as in `python -m lit_inpaint.<command>`.
        description: text for `--help`.
        epilog: text printed unchanged below the options.
    """

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"python -m lit_inpaint.{command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise `UserError` instead of printing the usage."""
        raise UserError(f"{message} (--help lists all options)")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as `argparse` does, and expand a leading `~` in the values of options that name files or folders.

        Raises:
            UserError: such a value is empty.
        """
        options, rest = super().parse_known_args(args, namespace or argparse.Namespace())
        for action in self._actions:
            if _names_files(action):
                value = getattr(options, action.dest, None)
                if action.dest != "init_from" and "" in (value if isinstance(value, list) else [value]):  # it names null itself
                    name = "/".join(action.option_strings) or action.metavar
                    self.error(f"{name} is empty; is a variable of the shell not set?")
                setattr(options, action.dest, _expand(value))
        return options, rest

    def parse_with_data(self, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse `argv` and return the `--data.…` options with their values separately.

        Raises:
            UserError: an option is unknown; suggests a similar one.
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


def _names_files(action: argparse.Action) -> bool:
    """Return whether an option's values are paths, by its placeholder in the help; in NAME=FILE they are not."""
    words = action.metavar.replace(".", "|").split("|") if isinstance(action.metavar, str) else []
    return not {"FILE", "DIR", "RUN"}.isdisjoint(words)


def _expand(value: object) -> object:
    if isinstance(value, list):
        return [_expand(item) for item in value]
    return str(user_path(value)) if isinstance(value, str) and value.startswith("~") else value


def whole_number(minimum: int, maximum: int = 2**63 - 1) -> Callable[[str], int]:
    """Make a type for `add_argument`: an integer from `minimum` to `maximum`."""

    def parse(text: str) -> int:
        number = int(text) if text.strip().lstrip("+-").isdecimal() else None
        if number is None or number < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got {text!r}")
        if number > maximum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at most {maximum}, got {text!r}")
        return number

    return parse


def build_data(config: load_yaml.Config, options: Sequence[str]) -> tuple[InpaintingData, dict[str, Any]]:
    """Build the data module of a configuration without its network.

    Args:
        config: as returned by `load_yaml.load_experiment`.
        options: `--data.…` options and their values, which override `config`.

    Returns:
        The data module, and its complete section of the configuration as plain data.

    Raises:
        UserError: the configuration or an option is invalid.
    """
    from jsonargparse import Namespace

    checked = check_settings.check(load_yaml.override(config, options))
    section: dict[str, Any] = yaml.safe_load(check_settings.dump(checked))["data"]
    return cast("InpaintingData", check_settings.build(cast(Any, Namespace)(data=checked.data)).data), section
