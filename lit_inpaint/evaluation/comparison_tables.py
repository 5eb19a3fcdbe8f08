"""Tables of scores: laid out once, then printed, or written as CSV, Markdown or LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from lit_inpaint.metrics import ALL, DistributionScore, Protocol, ScoreRow
from lit_inpaint.published import PublishedTable

MARK = "†"
"""Behind the names of published rows."""


@dataclass(frozen=True)
class Column:
    """What one column holds: the measure's name, its unit, and which end of the scale is good."""

    name: str
    unit: str
    higher_is_better: bool

    @property
    def heading(self) -> str:
        """As a table prints it, such as "PSNR dB"."""
        return f"{self.name.upper()} {self.unit}".rstrip()


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        text: as printed, "-" where there is none, "NaN (3)" where three scores are not numbers.
        interval: the mean's 95 % interval, or a set measure's spread, as printed; empty where there is none.
        best: none of the section's comparable lines is better.
    """

    text: str = "-"
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class MethodLine:
    """What one method scored: its name, a cell per column, and whether a paper says so rather than this evaluation."""

    method: str
    cells: tuple[Cell, ...]
    published: bool = False


@dataclass(frozen=True)
class Section:
    """The lines of one range of damage, and how many samples were in it; no lines where there were none."""

    label: str
    n: int
    lines: tuple[MethodLine, ...]


@dataclass(frozen=True)
class Table:
    """A table, ready to be printed.

    Attributes:
        title: above it.
        columns: what was measured.
        sections: one per range of damage.
        notes: below it, a line each: how it was measured, and on what.
    """

    title: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def build_table(
    rows: Sequence[ScoreRow],
    protocol: Protocol,
    title: str,
    notes: Sequence[str] = (),
    of_sets: Sequence[DistributionScore] = (),
    published: Sequence[PublishedTable] = (),
    labels: Sequence[str] | None = None,
) -> Table:
    """Rows as a table of damage bucket x method x measure.

    The best of our own methods in each column is marked, where there are several. Published lines stand below them and are not
    ranked with them: their images and masks are others.

    Args:
        rows: of one evaluation.
        protocol: how it measured.
        title: above the table.
        notes: below it.
        of_sets: the measures of all samples together, of one method.
        published: tables of papers whose lines are to stand beside ours.
        labels: buckets to show; None for those of the protocol.
    """
    columns = (
        *(Column(measure.name, measure.unit, measure.higher_is_better) for measure in protocol.metrics),
        *(Column(score.name, score.unit, score.higher_is_better) for score in of_sets),
    )
    if labels is None:
        labels = [*protocol.labels] if ALL in protocol.labels or not of_sets else [*protocol.labels, ALL]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    found = {(row["bucket"], row["method"], row["metric"]): row for row in rows}
    own = {measure.name for measure in protocol.metrics}
    sections = []
    for label in labels:
        n = max((row["n"] + row.get("nan", 0) for row in rows if row["bucket"] == label and row["metric"] in own), default=0)
        shown = []
        for method in methods if n else []:
            cells = []
            for column in columns:
                beside = [found.get((label, other, column.name)) for other in methods]
                cells.append(_cell(found.get((label, method, column.name)), [row for row in beside if row], column))
            shown.append(MethodLine(method, tuple(cells)))
        for table in published:
            for method, of_bucket in table.figures.items():
                figures = of_bucket.get(label, {})
                if any(column.name in figures for column in columns):
                    texts = [_printed(table, figures, column.name) for column in columns]
                    several = f" ({table.name})" if len(published) > 1 else ""
                    shown.append(MethodLine(f"{method}{several} {MARK}", tuple(map(Cell, texts)), published=True))
        sections.append(Section(label, n, tuple(shown)))
    return Table(title, columns, tuple(sections), tuple(notes))


def _cell(row: ScoreRow | None, beside: Sequence[ScoreRow], column: Column) -> Cell:
    if row is None:
        return Cell()
    if row["value"] is None:
        return Cell(f"NaN ({row['nan']})" if row.get("nan") else "-")
    value, low, high = row["value"], row.get("low"), row.get("high")
    known = [other["value"] for other in beside if other["value"] is not None]
    best = max(known) if column.higher_is_better else min(known)
    interval = "" if low is None or high is None else f"[{_text(low)}, {_text(high)}]"
    if (spread := row.get("spread")) is not None:
        interval = f"± {_text(spread)}"
    return Cell(_text(value), interval, value == best and len(beside) > 1)


def _printed(table: PublishedTable, figures: Mapping[str, float], measure: str) -> str:
    """A published figure with as many decimals as its column has in the paper."""
    if measure not in figures:
        return "-"
    column = [row[measure] for of_bucket in table.figures.values() for row in of_bucket.values() if measure in row]
    return f"{figures[measure]:.{max(len(str(value).partition('.')[2]) for value in column)}f}"


def _text(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def print_table(table: Table) -> None:
    """Print to the terminal; the best in bold and with a star."""
    shown = RichTable(title=f"{escape(table.title)}; * = best", title_justify="left")
    shown.add_column("damage")
    shown.add_column("n", justify="right")
    shown.add_column("method")
    for column in table.columns:
        shown.add_column(escape(column.heading), justify="right")
    for section in table.sections:
        if not section.n:
            shown.add_row(section.label, "0", "no samples", end_section=not section.lines)
        for number, line in enumerate(section.lines):
            cells = [f"[bold]{cell.text}*[/bold]" if cell.best else escape(cell.text) for cell in line.cells]
            head = [section.label, str(section.n)] if number == 0 and section.n else ["", ""]
            style = "dim" if line.published else None
            shown.add_row(*head, escape(line.method), *cells, end_section=number == len(section.lines) - 1, style=style)
    console = Console()
    if not console.is_terminal:  # a log file has no width to keep to
        console.width = max(console.width, console.measure(shown, options=console.options.update(width=1000)).maximum)
    console.print(shown)
    for note in table.notes:
        print(note)


def to_markdown(table: Table) -> str:
    """As GitHub shows it: the best in bold, 95 % intervals in brackets behind the means."""
    lines = [f"{_plain(table.title)}; in bold the best", ""]
    lines.append("| " + " | ".join(["damage", "n", "method", *(column.heading for column in table.columns)]) + " |")
    lines.append("|" + "---|" * 3 + "---:|" * len(table.columns))
    for section in table.sections:
        if not section.n:
            lines.append("| " + " | ".join([section.label, "0", "no samples", *("-" for _ in table.columns)]) + " |")
        for number, line in enumerate(section.lines):
            head = [section.label, str(section.n)] if number == 0 and section.n else ["", ""]
            cells = [f"{f'**{cell.text}**' if cell.best else cell.text} {cell.interval}".rstrip() for cell in line.cells]
            lines.append("| " + " | ".join([*head, _plain(line.method), *cells]) + " |")
    return "\n".join([*lines, "", *(f"- {_plain(note)}" for note in table.notes), ""])


def to_latex(table: Table) -> str:
    """A `table` for the package booktabs, laid out as papers do: a line per method, a group of columns per range of damage."""
    width = len(table.columns)
    groups = [f"\\multicolumn{{{width}}}{{c}}{{{_tex(s.label)} ($n={s.n}$)}}" for s in table.sections]
    rules = [f"\\cmidrule(lr){{{2 + width * k}-{1 + width * (k + 1)}}}" for k in range(len(table.sections))]
    arrows = [_tex(c.heading) + (r" $\uparrow$" if c.higher_is_better else r" $\downarrow$") for c in table.columns]
    ours = list(dict.fromkeys(line.method for s in table.sections for line in s.lines if not line.published))
    theirs = list(dict.fromkeys(line.method for s in table.sections for line in s.lines if line.published))
    lookup = {(s.label, line.method): line.cells for s in table.sections for line in s.lines}
    body = []
    for number, method in enumerate([*ours, *theirs]):
        if theirs and number == len(ours):
            body.append("\\midrule")
        cells = [cell for s in table.sections for cell in lookup.get((s.label, method), (Cell(),) * width)]
        texts = [f"\\textbf{{{cell.text}}}" if cell.best else _tex(cell.text) for cell in cells]
        body.append(" & ".join([_tex(method), *texts]) + r" \\")
    caption = " ".join(_tex(sentence).rstrip(".") + "." for sentence in (f"{table.title}; in bold the best", *table.notes))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{l{'r' * width * len(table.sections)}}}",
            r"\toprule",
            " & ".join(["", *groups]) + r" \\",
            " ".join(rules),
            " & ".join(["Method", *arrows * len(table.sections)]) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


CSV_COLUMNS = (
    *("method", "protocol", "bucket", "metric", "unit", "value", "low", "high", "n", "pictures", "perfect", "nan"),
    *("manifest", "checkpoint", "source", "dataset", "masks"),
)
"""Of `to_csv`; `source` is a published figure's paper and table, empty for what was measured here."""


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """One line per number, whose columns are the keys of a JSON row; what a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def images_csv(
    names: Sequence[str], shares: Sequence[float], buckets: Sequence[str], columns: Mapping[str, Sequence[float]]
) -> str:
    """One line per sample: its name, hole share in [0, 1], range of damage, then a column per method and measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "hole", "bucket", *columns])
    writer.writerows(zip(names, shares, buckets, *columns.values(), strict=True))
    return text.getvalue()


def _plain(text: str) -> str:
    """Without what Markdown would take for markup inside a table."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    MARK: r"$\dagger$",
    "…": r"\dots{}",
}


def _tex(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
