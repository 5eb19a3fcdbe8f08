"""Lay out line charts: coordinates for the SVG, and the values that the page's script shows on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from lit_inpaint.reporting.load_runs import Points, is_finite

MAX_POINTS = 800
"""Points of a drawn line; longer lines are averaged over equal stretches."""
COLORS = 8
"""Colors in the style sheet; further lines repeat them, dashed."""
_MAX_DOTS = 40


class Line(NamedTuple):
    """One line of a chart: its name in the legend, its color number, its points, and whether it is dashed."""

    name: str
    color: int
    points: Points
    dashed: bool = False


class DrawnLine(NamedTuple):
    """One line as SVG.

    Attributes:
        name: in the legend.
        css: classes of its color and dashes.
        path: commands of an SVG path.
        dots: (x, y) of its points if it has few.
    """

    name: str
    css: str
    path: str
    dots: Sequence[tuple[str, str]]


class Chart:
    """A line chart with all coordinates that the template draws.

    Args:
        title: above the chart.
        lines: values that are not finite, or beyond 1e300, leave gaps.
        unit: of the values; empty for a pure number.
        marks: (step, text) of vertical lines.

    Attributes:
        lines: as SVG.
        marks: (x, side of the text, text) of vertical lines.
        x_ticks: (x, label) of the steps.
        y_ticks: (y, label) of the values.
        data: steps and values for the script; None in a gap.
    """

    width, height = 500, 250
    left, right, top, bottom = 62, 466, 10, 220

    def __init__(self, title: str, lines: Sequence[Line], unit: str = "", marks: Sequence[tuple[int, str]] = ()) -> None:
        self.title = title
        self.unit = unit
        lines = [line._replace(points=_downsample(line.points)) for line in lines]
        values = [value for line in lines for _, value in line.points if is_finite(value)] or [0.0, 1.0]
        steps = [step for line in lines for step, _ in line.points]
        margin = 0.06 * (max(values) - min(values)) or 0.1 * abs(max(values)) or 0.5
        self._low, self._high = min(values) - margin, max(values) + margin
        self._first, self._last = min([0, *steps]), max([1, *steps])
        self.lines = [self._draw(line) for line in lines]
        middle = (self._first + self._last) / 2
        inside = [mark for mark in marks if self._first <= mark[0] <= self._last]
        self.marks = [(self._x(step), "end" if step > middle else "start", text) for step, text in inside]
        self.x_ticks = [(self._x(step), f"{step:,.0f}") for step in _ticks(self._first, self._last, 6) if step == round(step)]
        self.y_ticks = [(self._y(value), _tick_label(value)) for value in _ticks(self._low, self._high, 5)]
        self.data = {
            "x": [self._first, self._last, self.left, self.right],
            "unit": unit,
            "lines": [
                {
                    "name": line.name,
                    "color": line.color % COLORS,
                    "points": [[step, value if is_finite(value) else None] for step, value in line.points],
                }
                for line in lines
            ],
        }

    def _x(self, step: float) -> str:
        return f"{self.left + (step - self._first) / (self._last - self._first) * (self.right - self.left):.1f}"

    def _y(self, value: float) -> str:
        return f"{self.top + (self._high - value) / (self._high - self._low) * (self.bottom - self.top):.1f}"

    def _draw(self, line: Line) -> DrawnLine:
        path, dots, command = "", [], "M"
        for step, value in line.points:
            if is_finite(value):
                dots.append((self._x(step), self._y(value)))
                path += command + ",".join(dots[-1])
            command = "L" if is_finite(value) else "M"
        css = f"c{line.color % COLORS}" + (" dashed" if line.dashed or line.color >= COLORS else "")
        return DrawnLine(line.name, css, path, dots if len(line.points) <= _MAX_DOTS else ())


def _downsample(points: Points) -> Points:
    each = -(-len(points) // MAX_POINTS) or 1
    parts = (points[start : start + each] for start in range(0, len(points), each))
    return tuple((part[-1][0], sum(value for _, value in part) / len(part)) for part in parts)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between `low` and `high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _tick_label(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
