"""Output files of an evaluation: .json, .csv, .md, .tex, and beside them the list of samples and the scores of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_inpaint.errors import UserError
from lit_inpaint.storage.output_files import output_file, write_json, write_output

if TYPE_CHECKING:  # slow imports, which a mistake on the command line must not wait for
    from lit_inpaint.data import InpaintingData
    from lit_inpaint.data.manifest import Manifest
    from lit_inpaint.evaluation.comparison_tables import Table
    from lit_inpaint.metrics import EvaluationResult, PairedComparison, ScoreRow
    from lit_inpaint.published import PublishedTable

SUFFIXES = (".json", ".csv", ".md", ".tex")
MANIFEST_SUFFIX, IMAGES_SUFFIX, PARTIAL_SUFFIX = ".manifest.csv", ".images.csv", ".partial.jsonl"
"""These replace the suffix of an output: list of samples, scores of single images, scores of an unfinished evaluation."""


def check_outputs(names: Sequence[str]) -> list[Path]:
    """Check that all output files can be written; returns their paths, a .json first.

    Raises:
        UserError: unknown suffix, a duplicate, a clash with a file written beside an output, or a place that cannot be written.
    """
    paths = []
    for name in names:
        suffix = Path(name).suffix.lower()
        if suffix not in SUFFIXES:
            raise UserError(f"--output {name} must end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
        paths.append(output_file(name, suffix))
    if duplicates := [path for index, path in enumerate(paths) if path in paths[:index]]:
        raise UserError(f"--output names {duplicates[0]} twice")
    paths.sort(key=lambda path: path.suffix.lower() != ".json")
    beside = {path.with_suffix(IMAGES_SUFFIX) for path in paths if path.suffix.lower() == ".json"}
    beside |= {path.with_suffix(MANIFEST_SUFFIX) for path in paths[:1]}
    if clashes := [path for path in paths if path in beside]:
        raise UserError(f"--output {clashes[0]} is also the name of a file written beside {paths[0]}; choose another name")
    return paths


def json_content(
    result: EvaluationResult,
    rows: Sequence[ScoreRow],
    pairs: Sequence[PairedComparison],
    methods: Mapping[str, Mapping[str, object]],
    published: Sequence[PublishedTable],
    data: InpaintingData,
    manifest: Manifest,
) -> dict[str, Any]:
    """The content of a .json file: numbers, and what they are of.

    Args:
        result: of the evaluation.
        rows: of `result`; each gets the manifest's digest and the checkpoint or results of its method.
        pairs: of `result`.
        methods: facts about methods, with their "checkpoint", a file, or "results", a folder.
        published: tables to add.
        data: the evaluated data.
        manifest: the list of samples.
    """
    from lit_inpaint.evaluation.published_rows import published_rows

    files = {label: {key: facts[key] for key in ("checkpoint", "results") if key in facts} for label, facts in methods.items()}
    return {
        "rows": [{**row, "manifest": manifest.digest, **files.get(row["method"], {})} for row in rows],
        "pairs": [{**pair, "manifest": manifest.digest} for pair in pairs],
        "published": [row for table in published for row in published_rows(table)],
        "methods": methods,
        "protocol": {"name": result.protocol.name, "description": result.protocol.description},
        "masks": [str(source) for source in data.val_masks],
        "images": data.describe(),
        "notes": result.notes(),
    }


def write_outputs(
    paths: Sequence[Path], content: Mapping[str, Any], table: Table, result: EvaluationResult, manifest: Manifest
) -> None:
    """Write all output files, and print a line for each.

    Args:
        paths: from `check_outputs`; none writes nothing.
        content: of the .json file, from `json_content`.
        table: for .md and .tex.
        result: for the scores of single images beside a .json.
        manifest: the list of samples, written beside the first output.
    """
    from lit_inpaint.data.manifest import SHORT_DIGEST
    from lit_inpaint.evaluation.comparison_tables import to_latex, to_markdown

    for path in paths:
        suffix = path.suffix.lower()
        if suffix == ".json":
            _write_text(path.with_suffix(IMAGES_SUFFIX), _images_csv(result))
            write_json(path, content)
        elif suffix == ".csv":
            _write_text(path, _rows_csv(content, table))
        else:
            _write_text(path, to_markdown(table) if suffix == ".md" else to_latex(table))
        print(f"{len(content['rows'])} rows in {path}")
    if paths:
        manifest_path = paths[0].with_suffix(MANIFEST_SUFFIX)
        with write_output(manifest_path) as part:
            manifest.write(part)
        print(f"List of the samples in {manifest_path}, SHA-256 {manifest.digest[:SHORT_DIGEST]}…")


def _write_text(path: Path, text: str) -> None:
    with write_output(path) as part:
        part.write_text(text, encoding="utf-8", errors="surrogateescape")  # file names keep their bytes


def _images_csv(result: EvaluationResult) -> str:
    from lit_inpaint.evaluation.comparison_tables import images_csv

    columns = {
        f"{method} {metric.name}": scores[:, number].tolist()
        for method, scores in result.scores.items()
        for number, metric in enumerate(result.protocol.metrics)
    }
    return images_csv(result.sample_names, result.mask_ratios.tolist(), result.bucket_labels, columns)


def _rows_csv(content: Mapping[str, Any], table: Table) -> str:
    from lit_inpaint.evaluation.comparison_tables import to_csv

    units = {column.name: column.unit for column in table.columns}
    masks = "; ".join(content["masks"])
    rows = [{**row, "unit": units.get(row["metric"], ""), "masks": masks} for row in content["rows"]]
    return to_csv([*rows, *content["published"]])
