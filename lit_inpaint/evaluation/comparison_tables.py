"""Build comparison tables from score rows, and print them or convert them to Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from lit_inpaint.evaluation.method_labels import name_published
from lit_inpaint.evaluation.published_rows import MARK
from lit_inpaint.metrics import ALL, OUTSIDE, DistributionScore, Protocol, ScoreRow
from lit_inpaint.published import PublishedTable


@dataclass(frozen=True)
class Column:
    """One metric: its name, unit and direction."""

    name: str
    unit: str
    higher_is_better: bool

    @property
    def heading(self) -> str:
        """Heading in a table, such as "PSNR dB"."""
        return f"{self.name.upper()} {self.unit}".rstrip()


@dataclass(frozen=True)
class Cell:
    """One number.

    Attributes:
        text: as printed; "-" without a value, "NaN (3)" where three scores are NaN.
        interval: the mean's 95 % interval, or the standard deviation of a distribution metric, as printed; empty without one.
        best: no comparable line of the section is better.
    """

    text: str = "-"
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class MethodLine:
    """One method: its name, a cell per column, and whether the numbers are a paper's, not this evaluation's."""

    method: str
    cells: tuple[Cell, ...]
    published: bool = False


@dataclass(frozen=True)
class Section:
    """The lines of one mask-ratio bucket, or of the samples outside all buckets, or of all samples; n: number of samples."""

    label: str
    n: int
    lines: tuple[MethodLine, ...]


@dataclass(frozen=True)
class Table:
    """A table with formatted cells.

    Attributes:
        title: above it.
        columns: the metrics.
        sections: one per mask-ratio bucket.
        notes: lines below it.
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
    distribution_scores: Sequence[DistributionScore] = (),
    published: Sequence[PublishedTable] = (),
) -> Table:
    """Build a table of mask-ratio bucket x method x metric: the protocol's buckets, "outside" where it has samples, and "all".

    Marks the best evaluated method in each column if there are several. Published lines follow below and are not ranked.

    Args:
        rows: of one evaluation.
        protocol: of the same evaluation.
        title: above the table.
        notes: below the table.
        distribution_scores: scores of all samples together, of any method; they define columns.
        published: tables of papers to show for comparison.
    """
    columns = (
        *(Column(metric.name, metric.unit, metric.higher_is_better) for metric in protocol.metrics),
        *(Column(score.name, score.unit, score.higher_is_better) for score in distribution_scores),
    )
    methods = list(dict.fromkeys(row["method"] for row in rows))
    by_place = {(row["bucket"], row["method"], row["metric"]): row for row in rows}
    own = {metric.name for metric in protocol.metrics}
    sections = []
    for label in [bucket.label for bucket in protocol.buckets] + [OUTSIDE, ALL]:
        n = max((num_samples(row) for row in rows if row["bucket"] == label and row["metric"] in own), default=0)
        if label == OUTSIDE and not n:
            continue
        lines = []
        for method in methods if n else []:
            cells = []
            for column in columns:
                others = [by_place.get((label, other, column.name)) for other in methods]
                cells.append(_cell(by_place.get((label, method, column.name)), [row for row in others if row], column))
            lines.append(MethodLine(method, tuple(cells)))
        for table in published:
            for method, buckets in table.figures.items():
                figures = buckets.get(label, {})
                metrics = [_published_metric(table, column.name) for column in columns]
                if any(metric in figures for metric in metrics):
                    texts = [_printed(table, figures, metric) for metric in metrics]
                    table_name = f" ({table.name})" if len(published) > 1 else ""
                    name = f"{name_published(method, methods)}{table_name} {MARK}"
                    lines.append(MethodLine(name, tuple(map(Cell, texts)), published=True))
        sections.append(Section(label, n, tuple(lines)))
    return Table(title, columns, tuple(sections), tuple(notes))


def num_samples(row: ScoreRow) -> int:
    """Number of samples that a row is of: those in the mean, and those left out of it as infinite or NaN."""
    return row["n"] + row.get("nan", 0) + row.get("infinite", 0)


def _cell(row: ScoreRow | None, column_rows: Sequence[ScoreRow], column: Column) -> Cell:
    if row is None:
        return Cell()
    if row["value"] is None:
        return Cell(f"NaN ({row['nan']})" if row.get("nan") else "-")
    value, low, high = row["value"], row.get("low"), row.get("high")
    known = [other["value"] for other in column_rows if other["value"] is not None]
    best = max(known) if column.higher_is_better else min(known)
    interval = "" if low is None or high is None else f"[{_text(low)}, {_text(high)}]"
    if (std := row.get("std")) is not None:
        interval = f"± {_text(std)}"
    return Cell(_text(value), interval, value == best and len(column_rows) > 1)


def _published_metric(table: PublishedTable, name: str) -> str:
    """Name in a published table of an evaluated metric: `fid_1000` is the `fid` of a table of 1,000 images."""
    base, _, count = name.rpartition("_")
    return base if base in table.units and count == str(table.n) else name


def _printed(table: PublishedTable, figures: Mapping[str, float], metric: str) -> str:
    """A published number with as many decimals as its column has in the paper."""
    if metric not in figures:
        return "-"
    column = [row[metric] for buckets in table.figures.values() for row in buckets.values() if metric in row]
    return f"{figures[metric]:.{max(len(str(value).partition('.')[2]) for value in column)}f}"


def _text(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def print_table(table: Table) -> None:
    """Print a table to the terminal, the best in bold and with a star."""
    rich_table = RichTable(title=f"{escape(table.title)}; * = best", title_justify="left")
    rich_table.add_column("mask ratio")
    rich_table.add_column("n", justify="right")
    rich_table.add_column("method")
    for column in table.columns:
        rich_table.add_column(escape(column.heading), justify="right")
    for section in table.sections:
        if not section.n:
            rich_table.add_row(section.label, "0", "no samples", end_section=not section.lines)
        for number, line in enumerate(section.lines):
            cells = [f"[bold]{cell.text}*[/bold]" if cell.best else escape(cell.text) for cell in line.cells]
            head = [section.label, str(section.n)] if number == 0 and section.n else ["", ""]
            style = "dim" if line.published else None
            rich_table.add_row(*head, escape(line.method), *cells, end_section=number == len(section.lines) - 1, style=style)
    console = Console()
    if not console.is_terminal:  # a log file has no width to fit
        console.width = max(console.width, console.measure(rich_table, options=console.options.update(width=1000)).maximum)
    console.print(rich_table)
    for note in table.notes:
        print(note)


def to_markdown(table: Table) -> str:
    """Convert a table to GitHub's Markdown: the best in bold, 95 % intervals in brackets after the means."""
    lines = [f"{_plain(table.title)}; in bold the best", ""]
    lines.append("| " + " | ".join(["mask ratio", "n", "method", *(column.heading for column in table.columns)]) + " |")
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
    """Convert a table to LaTeX (package booktabs): a line per method, a group of columns per mask-ratio bucket."""
    width = len(table.columns)
    groups = [f"\\multicolumn{{{width}}}{{c}}{{{_tex(s.label)} ($n={s.n}$)}}" for s in table.sections]
    rules = [f"\\cmidrule(lr){{{2 + width * k}-{1 + width * (k + 1)}}}" for k in range(len(table.sections))]
    arrows = [_tex(c.heading) + (r" $\uparrow$" if c.higher_is_better else r" $\downarrow$") for c in table.columns]
    evaluated = list(dict.fromkeys(line.method for s in table.sections for line in s.lines if not line.published))
    published = list(dict.fromkeys(line.method for s in table.sections for line in s.lines if line.published))
    lookup = {(s.label, line.method): line.cells for s in table.sections for line in s.lines}
    body = []
    for number, method in enumerate([*evaluated, *published]):
        if published and number == len(evaluated):
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
    *("method", "protocol", "bucket", "metric", "unit", "value", "low", "high", "n", "num_images", "infinite", "nan"),
    *("manifest", "checkpoint", "results", "source", "dataset", "masks"),
)
"""Of `to_csv`; `source` is the paper and table of a published number, empty for an evaluated one."""


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Convert JSON rows to CSV, a line per number; missing keys give empty cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def images_csv(
    names: Sequence[str], mask_ratios: Sequence[float], buckets: Sequence[str], columns: Mapping[str, Sequence[float]]
) -> str:
    """Scores of single images as CSV, a line per sample: name, mask ratio in [0, 1], bucket, a column per method and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "mask_ratio", "bucket", *columns])
    writer.writerows(zip(names, mask_ratios, buckets, *columns.values(), strict=True))
    return text.getvalue()


def _plain(text: str) -> str:
    """Escape Markdown inside a table."""
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
