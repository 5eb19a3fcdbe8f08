"""Console progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar, cast

from tqdm import tqdm

T = TypeVar("T")


def update_interval(terminal: float = 0.1) -> float:
    """Seconds between two updates of a bar: `terminal` on a terminal, 10 elsewhere, so that a log file stays short."""
    return terminal if sys.stderr.isatty() else 10.0


def progress_bar(
    items: Iterable[T] | None = None,
    *,
    description: str,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    delay: float = 2,
    disable: bool | None = False,
) -> tqdm[T]:
    """A tqdm bar on stderr that disappears at its end.

    Args:
        items: iterable to wrap; None for a bar that the caller updates.
        description: text before the bar.
        unit: what is counted, such as "image".
        total: number of items; None takes the length of `items`.
        initial: items done before.
        delay: seconds before the bar appears.
        disable: show no bar; None shows one on a terminal only.
    """
    bar = tqdm(
        items,
        desc=description,
        unit=unit,
        total=total,
        initial=initial,
        leave=False,
        dynamic_ncols=True,
        mininterval=update_interval(),
        delay=delay,
        disable=disable,
    )
    return cast("tqdm[T]", bar)
