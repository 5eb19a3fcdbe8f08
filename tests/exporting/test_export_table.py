"""The table of exports in the README of the folder is what exporting finds.

Exporting a network at free sizes takes up to a minute, so these tests run on demand:

LIT_INPAINT_EXPORT_TABLE=1 python -m pytest tests/exporting/test_export_table.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from export_cases import CASES, FORMATS, build
from golden import CURVES

import lit_inpaint.exporting
from lit_inpaint.exporting.export_network import TOLERANCE, Exporter, ExportError
from lit_inpaint.exporting.formats import Format
from lit_inpaint.exporting.inpainting_graph import example_inputs

VARIABLE = "LIT_INPAINT_EXPORT_TABLE"
NETWORKS = {
    "network of the package (ResidualUNet)": "residual_unet",
    "LPI-Net": "lpi_net",
    "U-Net": "unet",
    "WaveMix": "wavemix",
    "GLCIC": "glcic",
    "Context Encoder, holes in the center": "context_encoder",
    "EdgeConnect": "edgeconnect",
    "DeepGIN": "deepgin",
    "DeepFill v1": "deepfill_v1",
    "DeepFill v2": "deepfill_v2",
    "LaMa": "lama",
    "PEPSI": "pepsi",
    "PConv": "pconv",
}


def table() -> dict[str, dict[Format, str]]:
    """Cells of the table by network and format."""
    text = Path(lit_inpaint.exporting.__path__[0], "README.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in text.partition("| network | onnx | torch_export |\n")[2].partition("\n\n")[0].splitlines()[1:]
    ]
    return {name: dict(zip(FORMATS, cells, strict=True)) for name, *cells in rows}


def test_each_paper_has_a_row() -> None:
    assert set(NETWORKS.values()) == set(CURVES)
    assert list(table()) == list(NETWORKS)


def test_pconv_with_new_weights_is_no_more_exact_than_its_export() -> None:
    """The reason for its refusal: float32 and float64 differ by more than the tolerance of exports."""
    model, inputs = build(CASES["pconv"]), example_inputs(256, 256, with_edges=False)
    image, mask = inputs["image"][:3], inputs["mask"][:3]
    with torch.no_grad():
        single = model(image, mask).image
        double = model.double()(image.double(), mask.double()).image
    assert (single.clamp(0, 1) - double.clamp(0, 1)).abs().max() > TOLERANCE


@pytest.mark.skipif(os.environ.get(VARIABLE) != "1", reason=f"takes minutes; {VARIABLE}=1 runs it")
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_cell_is_what_exporting_finds(network: str, format_name: Format) -> None:
    cell = table()[network][format_name]
    exporter = Exporter(build(CASES[NETWORKS[network]]), check_side=64)
    if refused := re.match(r"refused: differs from the network at (\d+x\d+)", cell):
        with pytest.raises(ExportError, match=rf"differs from the network by \S+ at {refused[1]}, above 1e-05$"):
            exporter.export(format_name)
        return
    report = exporter.export(format_name).report
    shape, _, difference = cell.rstrip(")").rpartition(" (")
    assert report["shape"] == shape
    found = [check["max_abs_difference"] for check in report["checks"]]
    assert len(found) == 2
    assert max(found) <= max(4 * float(difference), 1e-7), "of the same order as the table's"
