"""Export a trained network: `python -m lit_inpaint.export --format onnx torch_export safetensors --output DIR`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, whole_number
from lit_inpaint.errors import UserError, did_you_mean
from lit_inpaint.storage.output_files import require_folder_name, require_writable_folder
from lit_inpaint.storage.user_path import user_path

if TYPE_CHECKING:
    from lit_inpaint.exporting.export_network import Export
    from lit_inpaint.exporting.formats import Format

_EPILOG = """
onnx          model.onnx: inputs image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W) with 1 = hole, output the completed images.
              Padding and composite are in the graph; EdgeConnect and DeepFillV2 with guidance have a third input, edges.
torch_export  model.pt2: the same for torch.export.load.
safetensors   model.safetensors, config.json and README.md (model card), the layout of model hubs, for lit_inpaint.load(DIR).

Batch, height and width are free where the network allows it. Each export is compared with the network at two sizes, or at its
one size, with holes of five shapes; if an absolute difference is above 1e-5, nothing is written. The report is
export_report.json in DIR; beside FILE.onnx or FILE.pt2 it is FILE.json.
"""
_LICENSE_ID = re.compile(r"\w[\w.+-]*", re.ASCII)
_FILE_SUFFIXES = {".onnx": "onnx", ".pt2": "torch_export"}


def main(argv: list[str]) -> int:
    """Export, check, write; returns the exit status."""
    parser = CommandParser("export", "Export a trained network to formats of other programs.", _EPILOG)
    add = parser.add_argument
    add("--checkpoint", metavar="FILE|DIR", help=".ckpt of a run, or a model folder; default: the network of the package")
    add("--format", "--to", metavar="NAME", nargs="+", help="onnx (default), torch_export, safetensors; one or several")
    add("--output", metavar="DIR|FILE", required=True, help="folder, or a file that ends with .onnx or .pt2")
    add("--size", metavar="PIXELS", type=whole_number(8, 8192), help="fix the size to squares of this side (default: free)")
    add("--opset", metavar="N", type=whole_number(18, 23), help="version of ONNX's operators (default: PyTorch's)")
    add("--license", metavar="ID", help="license for the model card, such as apache-2.0 (default: left open)")
    options = parser.parse_args(argv)
    output = user_path(options.output)
    formats = _formats(options.format, output)
    to_file = output.suffix.lower() in _FILE_SUFFIXES
    if not to_file:
        require_folder_name(options.output, files=" or ".join(_FILE_SUFFIXES))
    if options.opset is not None and "onnx" not in formats:
        raise UserError("--opset goes with --format onnx; add it, or leave --opset out")
    if options.license is not None and "safetensors" not in formats:
        raise UserError("--license goes with the model card of --format safetensors; add it, or leave --license out")
    if options.license is not None and not _LICENSE_ID.fullmatch(options.license):
        raise UserError(f"--license {options.license!r} is no identifier of a license, such as apache-2.0")
    if options.size is not None and set(formats) == {"safetensors"}:
        raise UserError("--size goes with --format onnx or torch_export; add one, or leave --size out")

    from lit_inpaint.exporting.export_network import Exporter, publish, write_report, written_names
    from lit_inpaint.exporting.formats import FILE_NAMES, require_packages
    from lit_inpaint.exporting.model_card import read_card, write_card
    from lit_inpaint.runs.checkpoint_file import read_checkpoint, rebuild
    from lit_inpaint.runs.model_folder import SHIPPED, find_model_folder

    require_packages(formats)
    require_writable_folder(output.parent if to_file else output)
    targets = [output, output.with_suffix(".json")] if to_file else [output / name for name in written_names(formats)]
    if there := next((path for path in targets if path.exists()), None):
        raise UserError(f"{there} exists; remove it, or name another --output")

    entry_point.silence_warnings()
    source = options.checkpoint or SHIPPED
    content = read_checkpoint(source)
    model = rebuild(content, source)
    metadata = {"paper": content["lit_inpaint"]["paper"], "producer": "lit_inpaint"}
    exporter = Exporter(model, options.size, metadata=metadata)
    staged = output / ".export.part" if output.is_dir() else output.with_name(f".{output.name}.part")
    exports: list[Export] = []
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for name in formats:
            if name == "safetensors":
                folder = find_model_folder(Path(source))
                own_card = None if folder is None else folder / "README.md"
                kept = own_card is not None and own_card.is_file() and options.license is None
                card = read_card(own_card) if own_card and kept else write_card(model, content, Path(source), options.license)
                exports.append(exporter.export_folder(staged, int(content.get("global_step") or 0), card))
                continue
            export = exporter.export(name, options.opset)
            assert export.content is not None
            (staged / FILE_NAMES[name]).write_bytes(export.content)
            exports.append(export)
        write_report(staged / written_names(formats)[-1], str(source), model, exports)
        if to_file:
            for staged_name, target in zip((FILE_NAMES[formats[0]], written_names(formats)[-1]), targets, strict=True):
                (staged / staged_name).replace(target)
        else:
            publish(staged, output)
    except OSError as error:
        raise UserError(f"cannot write {output} ({error.strerror or error}); nothing was exported") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    for export in exports:
        _print(export)
    print(f"{type(model).__name__} in {output}; report in {targets[-1]}")
    return 0


def _formats(names: list[str] | None, output: Path) -> list[Format]:
    """Check the formats against each other and against `--output`."""
    from_suffix = _FILE_SUFFIXES.get(output.suffix.lower())
    known = ("onnx", "torch_export", "safetensors")
    chosen = list(dict.fromkeys(names or [from_suffix or "onnx"]))
    for name in chosen:
        if name not in known:
            raise UserError(f"--format has no {name!r}{did_you_mean(name, known, show_all=True)}")
    if from_suffix is not None and chosen != [from_suffix]:
        raise UserError(f"--output {output} holds {from_suffix} alone; name a folder for --format {' '.join(chosen)}")
    return cast("list[Format]", chosen)


def _print(export: Export) -> None:
    report = export.report
    facts = [report["shape"]] if "shape" in report else [f"weights in {report['weights']}"]
    if "opset" in report:
        custom = report["custom_operators"]
        facts.append(
            f"opset {report['opset']}, " + (f"custom operators {', '.join(custom)}" if custom else "no custom operators")
        )
    if "bytes" in report:
        facts.append(f"{report['bytes'] / 1e6:.1f} MB")
    print(f"{report['format']}: {'; '.join(facts)}")
    for check in report["checks"]:
        print(
            f"  {check['width']}x{check['height']}, {check['batch']} in a call: largest difference "
            f"{check['max_abs_difference']:.1e}, {check['unclamped_in_holes']:.0%} of the values in holes unclamped"
        )
    for shape, reason in report.get("not_possible", {}).items():
        print(f"  not possible: {shape}: {reason}")
    for note in report["notes"]:
        print(f"  note: {note}")


if __name__ == "__main__":
    entry_point.run_command(main)
