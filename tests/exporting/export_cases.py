"""Small networks of every paper and its main variants, and the table of their exports.

python tests/exporting/export_cases.py                    small networks
python tests/exporting/export_cases.py --full             networks as published, new weights (minutes for each)
python tests/exporting/export_cases.py lama pepsi         some of them
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "papers"))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from golden import CURVES

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.exporting.export_network import Exporter, ExportError
from lit_inpaint.exporting.formats import Format

FORMATS: tuple[Format, ...] = ("onnx", "torch_export")
CASES: dict[str, Callable[[], Inpainter]] = {
    **CURVES,
    "deepfill_v1 official": partial(CURVES["deepfill_v1"], variant="official"),
    "deepfill_v2 port": partial(CURVES["deepfill_v2"], variant="port"),
    "deepfill_v2 guidance": partial(CURVES["deepfill_v2"], guidance=True),
    "deepgin without attention": partial(CURVES["deepgin"], attention="none", back_projection=False, block="dilated"),
    "deepgin any_size=official": partial(CURVES["deepgin"], any_size="official", size=32),
    "edgeconnect official": partial(CURVES["edgeconnect"], variant="official"),
    "lama regular": partial(CURVES["lama"], convolution="regular"),
    "pconv sigmoid": partial(CURVES["pconv"], head="sigmoid", bias="everywhere"),
    "pepsi official": partial(CURVES["pepsi"], variant="official"),
    "pepsi separable": partial(CURVES["pepsi"], separable=True),
    "pepsi diet": partial(CURVES["pepsi"], diet="unit"),
    "wavemix official": partial(CURVES["wavemix"], variant="official"),
    "wavemix wavepaint": partial(CURVES["wavemix"], variant="wavepaint"),
}
FULL: dict[str, Callable[[], Inpainter]] = {
    f"{name} {variant}": partial(getattr(papers, name), **arguments)
    for name in papers.__all__
    for variant, arguments in (getattr(papers, name).published_as or {"": {}}).items()
}


def build(make: Callable[[], Inpainter]) -> Inpainter:
    """Build a network as `lit_inpaint.load` returns it, with new weights."""
    torch.manual_seed(0)
    model = make()
    model.configure_model()
    return model.eval()


def row(name: str, make: Callable[[], Inpainter], check_side: int, side: int | None = None) -> str:
    """Export to all formats; return a row of the table."""
    exporter, cells = Exporter(build(make), side, check_side), []
    for format_name in FORMATS:
        begin = time.process_time()
        try:
            report = exporter.export(format_name).report
            worst = max(check["max_abs_difference"] for check in report["checks"])
            cell = f"{report['shape']} ({worst:.0e})"
            print(name, format_name, report["not_possible"], report["checks"], report.get("operators"), file=sys.stderr)
        except ExportError as error:
            cell = f"no: {error}"
        cells.append(cell)
        print(f"{name} {format_name} {time.process_time() - begin:.1f} s: {cell}", file=sys.stderr, flush=True)
    return f"| {name} | {' | '.join(cells)} |"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="networks as published")
    parser.add_argument("--size", type=int, help="fixed size")
    parser.add_argument("names", nargs="*", help="beginnings of names (default: all)")
    options = parser.parse_args(argv)
    cases = FULL if options.full else CASES
    print(f"| network | {' | '.join(FORMATS)} |\n|{'---|' * (len(FORMATS) + 1)}")
    for name, make in cases.items():
        if not options.names or name.startswith(tuple(options.names)):
            print(row(name, make, 256 if options.full else 64, options.size), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
