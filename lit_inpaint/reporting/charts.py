"""Line charts as SVG: readable without a script, with the numbers beside them for the script that shows values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from lit_inpaint.reporting.load_runs import Points, is_finite

MOST_POINTS = 800
"""Of a line; longer ones are averaged over equal stretches of rows."""
_WIDTH, _HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 10, 30
COLOURS = 8
"""Lines with a colour of their own in the style sheet; the next ones begin again, dashed."""


class ChartLine(NamedTuple):
    """One line of a chart: what the legend calls it, and which colour it has everywhere on the page."""

    name: str
    colour: int
    points: Points


def chart(title: str, lines: Sequence[ChartLine], unit: str = "") -> str:
    """A figure with a legend.

    Args:
        title: above the chart.
        lines: values that are not finite, or beyond 1e300, leave gaps.
        unit: of the values.

    Returns:
        HTML.
    """
    shown = [line._replace(points=_thinned(line.points)) for line in lines]
    values = [y for line in shown for _, y in line.points if is_finite(y)]
    steps = [x for line in shown for x, _ in line.points]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    low, high = low - margin, high + margin
    first, last = min([0, *steps]), max([1, *steps])

    def x(step: float) -> float:
        return _LEFT + (step - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in _ticks(low, high, 5):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    parts += [
        f'<text class="tick" x="{x(tick):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{tick:,.0f}</text>'
        for tick in _ticks(first, last, 6)
        if tick == round(tick)
    ]
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM}"/>')
    for line in shown:
        style = f"line c{line.colour % COLOURS}" + (" dashed" if line.colour >= COLOURS else "")
        for piece in _pieces(line.points):
            places = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in piece)
            parts.append(f'<polyline class="{style}" points="{places}"/>')
        if len(line.points) <= 40:
            dots = ((step, value) for step, value in line.points if is_finite(value))
            parts += [
                f'<circle class="dot c{line.colour % COLOURS}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.6"/>' for a, b in dots
            ]
    parts.append(f'<line class="cursor" x1="0" x2="0" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/>')
    about = {
        "x": [first, last, _LEFT, _WIDTH - _RIGHT],
        "unit": unit,
        "lines": [
            {
                "name": line.name,
                "colour": line.colour % COLOURS,
                "points": [[a, b if is_finite(b) else None] for a, b in line.points],
            }
            for line in shown
        ],
    }
    legend = "".join(map(_key, shown)) if len(shown) > 1 else ""
    heading = escape(title) + (f' <span class="unit">{escape(unit)}</span>' if unit else "")
    return (
        f'<figure class="chart"><figcaption>{heading}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f'<div class="legend">{legend}</div>{script_data(about)}</figure>'
    )


def _key(line: ChartLine) -> str:
    """A line's entry in the legend."""
    dashed = " dashed" if line.colour >= COLOURS else ""
    return f'<span class="key"><i class="c{line.colour % COLOURS}{dashed}"></i>{escape(line.name)}</span>'


def script_data(content: object) -> str:
    """Data for the page's script, in a form in which no text can end the element."""
    return (
        f'<script type="application/json">{json.dumps(content, separators=(",", ":")).replace("<", chr(92) + "u003c")}</script>'
    )


def number(value: float) -> str:
    """A value in few characters: four significant digits, more before the point."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        return f"{value:.4g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:.4g}"


def _thinned(points: Points) -> Points:
    if len(points) <= MOST_POINTS:
        return points
    each = -(-len(points) // MOST_POINTS)
    parts = (points[start : start + each] for start in range(0, len(points), each))
    return tuple((part[-1][0], sum(value for _, value in part) / len(part)) for part in parts)


def _pieces(points: Points) -> Iterator[list[tuple[int, float]]]:
    """Stretches without gaps."""
    piece = list[tuple[int, float]]()
    for point in (*points, (0, math.nan)):
        if is_finite(point[1]):
            piece.append(point)
        elif piece:
            yield piece
            piece = []


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between `low` and `high`."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    start = math.ceil(low / step)
    return [round(place * step, 12) for place in range(start, math.floor(high / step + 1e-9) + 1)]
