"""The page itself: one HTML file that needs nothing else, neither a server nor a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import NamedTuple

from lit_inpaint.metrics import PROTOCOLS
from lit_inpaint.reporting.charts import MOST_POINTS, ChartLine, chart, number, script_data
from lit_inpaint.reporting.image_examples import QUALITY, Example, data_uri
from lit_inpaint.reporting.load_runs import RunRecord, best_of

_MEASURES = {measure.name: measure for protocol in reversed(PROTOCOLS) for measure in protocol.metrics}  # the first rules
_NOT_LOSSES = ("lr_", "weight_")
_ABOUT_THE_BATCH = {
    "train/d_real": "discriminator's mean score of real images",
    "train/d_fake": "discriminator's mean score of completed images",
    "train/hole": "share of holes in a batch",
    "train/images_per_second": "speed, images a second",
}
BucketScores = dict[tuple[str, str], tuple[float | None, int]]
"""(range of damage, measure) -> value and number of samples."""
_SMALL = 200  # an image with fewer pixels a side is shown with square pixels


class Gallery(NamedTuple):
    """Examples of one run.

    Attributes:
        worst: by PSNR, the worst first.
        best: by PSNR, the best first.
        note: how they were chosen.
    """

    worst: Sequence[Example]
    best: Sequence[Example]
    note: str


class Grids(NamedTuple):
    """(step, picture as a data URI) of one run's sample grids, and how many there are on disk."""

    shown: Sequence[tuple[int, str]]
    there: int


def render(
    runs: Sequence[RunRecord], grids: Sequence[Grids], galleries: Sequence[Gallery], made_with: Mapping[str, str]
) -> str:
    """The whole page.

    Args:
        runs: at least one.
        grids: of each run.
        galleries: of each run.
        made_with: programs and machine that made the page, not necessarily the runs.

    Returns:
        HTML.
    """
    title = runs[0].label if len(runs) == 1 else f"{len(runs)} runs"
    sections = [
        ("validation", "Validation", _validation(runs)),
        ("training", "Training", _training(runs)),
        ("samples", "Samples over time", _samples(runs, grids)),
        ("images", "Worst and best", _images(runs, galleries)),
        ("table", "Closing table", _closing(runs)),
        ("settings", "Settings", _settings(runs)),
        ("versions", "Versions and machine", _versions(runs, made_with)),
    ]
    body = "".join(f'<section id="{name}"><h2>{heading}</h2>{content}</section>' for name, heading, content in sections)
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections)
    own = {name: files(__package__).joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js")}
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - lit_inpaint</title>"
        f'<link rel="icon" href="data:,"><style>{own["page.css"]}</style></head><body>'
        f'<nav>{links}<button id="theme" type="button">light / dark</button></nav><main>'
        f"<h1>{escape(title)}</h1>{_cards(runs)}{body}"
        f"<footer>Written by <code>python -m lit_inpaint.report</code>. Pictures are WebP of quality {QUALITY}, so not exact "
        f"to the pixel; numbers are from the run's own files. Lines of more than {MOST_POINTS} points are averaged over equal "
        f"stretches.</footer></main><script>{own['page.js']}</script></body></html>\n"
    )


def _cards(runs: Sequence[RunRecord]) -> str:
    cards = []
    for place, run in enumerate(runs):
        best = best_of(run.curves.get("val/psnr", ()), higher=True)
        big = f"{best[1]:.2f} <small>dB PSNR, best of the validations, at step {best[0]:,}</small>" if best else "no PSNR"
        data = run.config.get("data") or {}
        facts = {
            "paper": run.paper,
            "experiment": run.config.get("experiment"),
            "data": str(data.get("class_path", "-")).rpartition(".")[2],
            "size": f"{(data.get('init_args') or {}).get('size', '-')} px",
            "seed": run.config.get("seed"),
            "steps": f"{run.last_step:,}" + ("" if run.table is not None else ", not at its end"),
            "folder": run.path,
        }
        listed = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
        cards.append(
            f'<div class="card"><h3><span class="swatch c{place % 8}"></span>{escape(run.label)}</h3>'
            f'<p class="big">{big}</p><dl>{listed}</dl></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _validation(runs: Sequence[RunRecord]) -> str:
    """A chart of each measure over all samples, then over the ranges of damage; and every number as a table."""
    columns = list(dict.fromkeys(name for run in runs for name in run.validations()))
    measures = list(dict.fromkeys(name.rpartition("/")[2] for name in columns))
    overall, ranges = [], []
    for measure in measures:
        unit = _MEASURES[measure].unit if measure in _MEASURES else ""
        name = measure.upper()
        whole = _lines(runs, f"val/{measure}")
        if whole:
            overall.append(chart(f"{name}, all samples", whole, unit))
        buckets = [column for column in columns if column.count("/") == 2 and column.endswith(f"/{measure}")]
        if len(runs) == 1 and buckets:
            lines = [ChartLine(column.split("/")[1], place, runs[0].curves[column]) for place, column in enumerate(buckets)]
            ranges.append(chart(f"{name} by damage", lines, unit))
        elif buckets:
            ranges += [chart(f"{name}, {column.split('/')[1]} damage", _lines(runs, column), unit) for column in buckets]
    tables = "".join(_validation_table(run) for run in runs)
    return (
        '<p class="note">Of composites: known pixels of the image, hole pixels of the network. Point at a chart for values.</p>'
        f'<div class="charts">{"".join(overall)}</div><h3>By range of damage</h3><div class="charts">{"".join(ranges)}</div>'
        f"<details><summary>Every value of the validations</summary>{tables}</details>"
    )


def _validation_table(run: RunRecord) -> str:
    columns = run.validations()
    values = {name: dict(run.curves[name]) for name in columns}
    bests = {
        name: best_of(run.curves[name], _MEASURES[m].higher_is_better)
        for name in columns
        if (m := name.rpartition("/")[2]) in _MEASURES
    }
    head = "".join(f"<th>{escape(name.removeprefix('val/'))}</th>" for name in columns)
    body = ""
    for step in sorted({step for name in columns for step in values[name]}):
        cells = ""
        for name in columns:
            best = bests.get(name)
            mark = ' class="best"' if best is not None and len(values[name]) > 1 and best[0] == step else ""
            cells += f"<td{mark}>{_exact(values[name].get(step))}</td>"
        body += f"<tr><td>{step:,}</td>{cells}</tr>"
    return f"<h3>{escape(run.label)}</h3>{_table(f'<th>step</th>{head}', f'<tbody>{body}</tbody>')}"


def _training(runs: Sequence[RunRecord]) -> str:
    columns = list(dict.fromkeys(name for run in runs for name in run.curves if name.startswith("train/")))
    if not columns:
        return "<p>Nothing was logged: the run is shorter than log_every_n_steps, or that is 0.</p>"
    numbers = [name for name in columns if name not in _ABOUT_THE_BATCH]
    losses = [name for name in numbers if not name.removeprefix("train/").startswith(_NOT_LOSSES)]
    players = [name for name in ("train/generator", "train/discriminator") if name in losses]
    terms = [name for name in losses if name not in players]
    rates = [name for name in numbers if name not in losses]
    html = [_stages(runs), "<h3>Losses of both players</h3>", '<div class="charts">']
    html += [chart(f"{name.removeprefix('train/')}, all its terms weighted", _lines(runs, name)) for name in players]
    html += ['</div><h3>Their terms</h3><div class="charts">']
    html += [chart(name.removeprefix("train/"), _lines(runs, name)) for name in terms]
    html += ['</div><h3>Learning rates and weights</h3><div class="charts">']
    if len(runs) == 1:
        for title, start in (("learning rates", "train/lr_"), ("loss weights", "train/weight_")):
            own = [name for name in rates if name.startswith(start)]
            lines = [ChartLine(name.removeprefix(start), place, runs[0].curves[name]) for place, name in enumerate(own)]
            html += [chart(title, lines)] if lines else []
    else:
        html += [chart(name.removeprefix("train/"), _lines(runs, name)) for name in rates]
    html += ['</div><h3>Batches</h3><div class="charts">']
    html += [chart(title, _lines(runs, name)) for name, title in _ABOUT_THE_BATCH.items() if name in columns]
    return "".join([*html, "</div>"])


def _stages(runs: Sequence[RunRecord]) -> str:
    said = [
        f"{escape(run.label)}: " + ", ".join(f"{escape(name)} (from step {step:,})" for step, name in run.stages)
        for run in runs
        if run.stages
    ]
    return f'<p class="note">Stages, by their first logged step. {"; ".join(said)}.</p>' if said else ""


def _lines(runs: Sequence[RunRecord], column: str) -> list[ChartLine]:
    """The same column of all runs that have it."""
    return [ChartLine(run.label, place, run.curves[column]) for place, run in enumerate(runs) if column in run.curves]


def _samples(runs: Sequence[RunRecord], grids: Sequence[Grids]) -> str:
    boxes = []
    for run, (shown, there) in zip(runs, grids, strict=True):
        if not shown:
            boxes.append(f'<div class="card"><h3>{escape(run.label)}</h3><p>No grids in samples/.</p></div>')
            continue
        last = len(shown) - 1
        alt = f"samples of {escape(run.label)} at step"
        images = "".join(
            f'<img src="{uri}" data-step="{step}" alt="{alt} {step}"{"" if place == last else " hidden"}>'
            for place, (step, uri) in enumerate(shown)
        )
        few = f" ({len(shown)} of {there} grids)" if len(shown) < there else ""
        slider = (
            f'<div class="control"><input type="range" min="0" max="{last}" value="{last}" '
            f'aria-label="step of the samples of {escape(run.label)}">'
            f"<output>step {shown[-1][0]:,}</output></div>"
            if last
            else f'<p class="note">step {shown[-1][0]:,}</p>'
        )
        boxes.append(f'<div class="card steps"><h3>{escape(run.label)}{few}</h3>{slider}{images}</div>')
    return (
        '<p class="note">The same validation samples at each validation: masked input, output, composite, target. '
        f'Move the slider through the training.</p><div class="samples">{"".join(boxes)}</div>'
    )


def _images(runs: Sequence[RunRecord], galleries: Sequence[Gallery]) -> str:
    html = ['<p class="note">Drag over an image: masked input at the left; at the right, what is chosen below it.</p>']
    for run, gallery in zip(runs, galleries, strict=True):
        html.append(f'<h3>{escape(run.label)}</h3><p class="note">{escape(gallery.note)}</p>')
        for word, examples in (("Worst", gallery.worst), ("Best", gallery.best)):
            if examples:
                cards = "".join(map(_compare, examples))
                html.append(f'<h3>{word} by PSNR</h3><div class="examples">{cards}</div>')
    return "".join(html)


def _compare(example: Example) -> str:
    choices = {"completed": example.completed, "truth": example.truth, "raw output": example.output}
    uris = {name: data_uri(picture) for name, picture in choices.items()}
    named = [(name, value) for name, value in example.figures.items() if name != "hole"]
    figures = ", ".join(f"{name.upper()} {_figure(value)} {_unit(name)}".rstrip() for name, value in named)
    hole = f", hole {example.figures['hole']:.0%}" if "hole" in example.figures else ""
    options = "".join(f"<option>{name}</option>" for name in choices)
    small = " small" if max(example.truth.size) < _SMALL else ""
    name = escape(example.name)
    return (
        f'<div class="compare"><div class="stack{small}"><img class="under" src="{uris["completed"]}" alt="{name}">'
        f'<img class="over" src="{data_uri(example.masked)}" alt="masked input">'
        f'<input type="range" min="0" max="100" value="50" aria-label="from masked input to completed, {name}"></div>'
        f'<div class="sides"><span>masked</span><select aria-label="shown at the right">{options}</select></div>'
        f'<b>{name}</b><div class="figures">{figures}{hole}</div>{script_data(uris)}</div>'
    )


def _closing(runs: Sequence[RunRecord]) -> str:
    """The closing tables: one for all runs that were measured on the same samples."""
    missing = "".join(
        f'<p class="note">{escape(run.label)} has no table.json: it has not come to its end.</p>'
        for run in runs
        if not run.table
    )
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.table:
            groups.setdefault(str(run.table[0].get("manifest", "")), []).append(run)
    if not groups:
        return missing
    warning = (
        '<p class="warn">These runs were measured on different samples: the rows of one table cannot be compared with those of '
        "another.</p>"
    )
    html = [warning if len(groups) > 1 else ""]
    html.append('<p class="note">Last weights (their average, where one was kept) on the validation set; * best of a range. ')
    html.append(f"{_protocols([run for group in groups.values() for run in group])}</p>")
    for digest, group in groups.items():
        if len(groups) > 1:
            html.append(f"<h3>{escape(', '.join(run.label for run in group))}</h3>")
        html.append(_scores(group, several=len(runs) > 1))
        html.append(f'<p class="note">SHA-256 of the list of samples: {escape(digest[:12])}…</p>' if digest else "")
    return "".join([*html, missing])


def _scores(runs: Sequence[RunRecord], several: bool) -> str:
    """Range of damage x method x measure; a method that all runs have alike, as the baselines, stands once."""
    blocks: dict[str, BucketScores] = {}
    for run in runs:
        own: dict[str, BucketScores] = {}
        for row in run.table or ():
            own.setdefault(str(row["method"]), {})[str(row["bucket"]), str(row["metric"])] = (row["value"], int(row["n"]))
        for method, scores in own.items():
            name = f"{run.label} ({method})" if several and method == run.paper else method
            blocks[name if blocks.get(name, scores) == scores else f"{name} [{run.label}]"] = scores
    places = list(dict.fromkeys(place for scores in blocks.values() for place in scores))
    measures, buckets = (list(dict.fromkeys(place[part] for place in places)) for part in (1, 0))
    head = "".join(f"<th>{escape(name.upper())} {escape(_unit(name))}</th>" for name in measures)
    body = "".join(_bucket(bucket, measures, blocks) for bucket in buckets)
    return _table(f'<th>damage</th><th>n</th><th class="left">method</th>{head}', body)


def _protocols(runs: Sequence[RunRecord]) -> str:
    names = sorted({str(row["protocol"]) for run in runs for row in run.table or () if "protocol" in row})
    known = {protocol.name: protocol.description for protocol in PROTOCOLS}
    return " ".join(
        f"Protocol {escape(name)}: {escape(known[name])}." if name in known else f"Protocol {escape(name)}." for name in names
    )


def _bucket(bucket: str, measures: Sequence[str], blocks: Mapping[str, BucketScores]) -> str:
    nothing = (None, 0)
    count = max(n for scores in blocks.values() for place, (_, n) in scores.items() if place[0] == bucket)
    if count == 0:
        none = f'<td class="left" colspan="{len(measures) + 1}">no samples</td>'
        return f"<tbody><tr><td>{escape(bucket)}</td><td>0</td>{none}</tr></tbody>"
    columns = {m: [scores.get((bucket, m), nothing)[0] for scores in blocks.values()] for m in measures}
    rows = ""
    for place, method in enumerate(blocks):
        cells = "".join(f"<td{_mark(column[place], column, m)}>{_figure(column[place])}</td>" for m, column in columns.items())
        first = f"<td>{escape(bucket)}</td><td>{count:,}</td>" if place == 0 else "<td></td><td></td>"
        rows += f'<tr>{first}<td class="left">{escape(method)}</td>{cells}</tr>'
    return f"<tbody>{rows}</tbody>"


def _mark(value: float | None, column: Sequence[float | None], measure: str) -> str:
    known = [other for other in column if other is not None and math.isfinite(other)]
    if value is None or len(column) < 2 or not known or measure not in _MEASURES:
        return ""
    best = max(known) if _MEASURES[measure].higher_is_better else min(known)
    return ' class="best"' if value == best else ""


def _settings(runs: Sequence[RunRecord]) -> str:
    settings = [run.settings() for run in runs]
    keys = list(dict.fromkeys(key for own in settings for key in own))
    head = "".join(f'<th class="left">{escape(run.label)}</th>' for run in runs)
    body, different = "", 0
    for key in keys:
        values = [own.get(key, "-") for own in settings]
        changed = len(set(values)) > 1
        different += changed
        kind = "changed" if changed else "same"
        body += f'<tr class="{kind}"><td>{escape(key)}</td>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
    control = (
        f'<p class="control"><label><input type="checkbox" id="only-differences"{" checked" if different else ""}> '
        f"only the {different} settings that differ</label></p>"
        if len(runs) > 1
        else ""
    )
    table = f'<table class="settings"><thead><tr><th>setting</th>{head}</tr></thead><tbody>{body}</tbody></table>'
    shown = f'{control}<div class="scroll">{table}</div>'
    return (
        shown if len(runs) > 1 else f"<details><summary>All {len(keys)} settings, as in config.yaml</summary>{shown}</details>"
    )


def _versions(runs: Sequence[RunRecord], made_with: Mapping[str, str]) -> str:
    programs = list(dict.fromkeys([*(name for run in runs for name in run.versions), *made_with]))
    head = "".join(f"<th>{escape(run.label)}</th>" for run in runs)
    body = ""
    for program in programs:
        cells = "".join(f"<td>{escape(run.versions.get(program, 'not recorded'))}</td>" for run in runs)
        body += f"<tr><td>{escape(program)}</td>{cells}<td>{escape(made_with.get(program, '-'))}</td></tr>"
    seeds = "".join(f"<td>{escape(str(run.config.get('seed')))}</td>" for run in runs)
    return (
        '<p class="note">Of the runs, what their checkpoints and machines.yaml say.</p><div class="scroll"><table><thead><tr>'
        f"<th></th>{head}<th>this page</th></tr></thead><tbody><tr><td>seed</td>{seeds}<td>-</td></tr>{body}</tbody></table>"
        "</div>"
    )


def _table(head: str, bodies: str) -> str:
    """A table that scrolls sideways where the window is narrow."""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{bodies}</table></div>'


def _unit(measure: str) -> str:
    return _MEASURES[measure].unit if measure in _MEASURES else ""


def _figure(value: float | None) -> str:
    """As the tables of `evaluate` print it."""
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _exact(value: float | None) -> str:
    return "-" if value is None else number(value) if not math.isfinite(value) else f"{value:.6g}"
