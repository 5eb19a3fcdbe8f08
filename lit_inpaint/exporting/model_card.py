"""Write the model card of an exported network, from what its checkpoint and its run record."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.runs.run_dir import RunDir
from lit_inpaint.storage.plain_data import parse_json
from lit_inpaint.storage.regular_file import read_regular_file

_MAX_CARD_BYTES = 2**22


def read_card(path: Path) -> str:
    """Read the model card of a model folder.

    Raises:
        UserError: it cannot be read, or is no text in UTF-8.
    """
    try:
        return read_regular_file(path, _MAX_CARD_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(
            f"cannot keep the model card {path} ({reason}); correct it, or name a --license for a new one"
        ) from None


def write_card(model: Inpainter, content: Mapping[str, Any], source: Path, license_id: str | None) -> str:
    """Return the text of a model card: paper, settings, data, training, metrics, use.

    Args:
        model: the paper.
        content: of its checkpoint, as `read_checkpoint` returns it.
        source: the checkpoint; metrics are those of the run's `final_evaluation.json` if it is the run's `last.ckpt`.
        license_id: identifier such as "apache-2.0"; None: the card leaves it to the owner of the weights.
    """
    config = content["lit_inpaint"].get("config") or {}
    rows = _final_metrics(source, model.label)
    matter: dict[str, Any] = {"library_name": "lit_inpaint", "pipeline_tag": "image-to-image", "tags": ["image-inpainting"]}
    if license_id is not None:
        matter["license"] = license_id
    if rows:
        matter["metrics"] = sorted({str(row["metric"]) for row in rows})
    title = (inspect.getdoc(inspect.getmodule(type(model))) or type(model).__name__).splitlines()[0]
    front = yaml.safe_dump(matter, sort_keys=False).strip()
    parameters = sum(parameter.numel() for parameter in model.generator.parameters())
    description = content["lit_inpaint"]
    parts = [
        f"---\n{front}\n---",
        f"# {type(model).__name__}",
        title,
        f"Image inpainting: `{description['paper']}`, {parameters:,} parameters, trained for {content['global_step']:,} "
        f"batches with lit_inpaint {description.get('versions', {}).get('lit_inpaint', '')}, seed {description['seed']}.",
        _use(),
        "## Data\n\n" + _data(config),
        "## Settings\n\n```yaml\n" + yaml.safe_dump(description["settings"], sort_keys=False).strip() + "\n```",
    ]
    if rows:
        parts.append(_metrics_table(rows))
    if license_id is None:
        parts.append("## License\n\nNot stated. The owner of the weights chooses it: `license` in the head of this file.")
    return "\n\n".join(parts) + "\n"


def _use() -> str:
    return (
        "## Use\n\n```python\nimport lit_inpaint\n\n"
        'model = lit_inpaint.load("DIR")  # this folder\n'
        "completed = model.complete(image, mask)  # (B, 3, H, W) in [0, 1], (B, 1, H, W) with 1 = hole\n```"
    )


def _data(config: Mapping[str, Any]) -> str:
    section = config.get("data") if isinstance(config, Mapping) else None
    if not isinstance(section, Mapping) or not isinstance(section.get("class_path"), str):
        return "Not recorded."
    options = section.get("init_args")
    options = options if isinstance(options, Mapping) else {}
    kept = {name: options[name] for name in ("size", "batch_size", "masks", "train_transform") if name in options}
    text = yaml.safe_dump({"class_path": section["class_path"], **kept}, sort_keys=False).strip()
    return f"```yaml\n{text}\n```"


def _final_metrics(source: Path, method: str) -> list[dict[str, Any]]:
    """Read the rows of the network itself; none for checkpoints other than the last of a complete run."""
    run = RunDir(source.absolute().parent.parent)
    if source.name != run.last.name or not run.final_evaluation.is_file():
        return []
    try:
        rows = parse_json(run.final_evaluation.read_text(encoding="utf-8"))["rows"]
        own = [row for row in rows if row["method"] == method and row["value"] is not None]
        named = [row for row in own if isinstance(row["bucket"], str) and isinstance(row["metric"], str)]
        return [{**row, "n": int(row["n"]), "value": float(row["value"])} for row in named]
    except (
        UserError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
    ):  # of another version, or edited
        return []


def _metrics_table(rows: list[dict[str, Any]]) -> str:
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    buckets = list(dict.fromkeys(row["bucket"] for row in rows))
    values = {(row["bucket"], row["metric"]): row for row in rows}
    lines = [f"| mask ratio | n | {' | '.join(metrics)} |", f"|{'---|' * (len(metrics) + 2)}"]
    for bucket in buckets:
        found = [values.get((bucket, metric)) for metric in metrics]
        n = next(row["n"] for row in found if row is not None)
        cells = ["" if row is None else f"{row['value']:.4g}" for row in found]
        lines.append(f"| {bucket} | {n} | {' | '.join(cells)} |")
    return "## Results\n\nFinal evaluation of the run, on its validation set:\n\n" + "\n".join(lines)
