"""Exports of all papers and their main variants, exports that are not possible, or that leave something out."""

from functools import partial

import pytest
from export_cases import CASES, FORMATS, build
from golden import CURVES

from lit_inpaint import papers
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.exporting.export_network import Exporter, ExportError
from lit_inpaint.exporting.formats import Format
from lit_inpaint.exporting.inpainting_graph import InpaintingGraph
from lit_inpaint.exporting.trace import InputShape

SIDE = 32


def test_no_paper_is_left_out() -> None:
    classes = {getattr(papers, name) for name in papers.__all__}
    assert {type(make()) for make in CASES.values()} == classes == {type(CURVES[name]()) for name in CURVES}


@pytest.mark.parametrize(
    ("name", "format_name"),
    [(name, each) for name in CASES for each in FORMATS if name in CURVES or (each == "onnx" and "any_size" not in name)],
)
def test_every_network_can_be_exported(name: str, format_name: Format) -> None:
    """At one size, which is quick; `export_cases.py` tries free sizes, and takes what takes half a minute here."""
    exporter = Exporter(build(CASES[name]))
    report = exporter.export(format_name, shapes=[InputShape(free_batch=False, side=SIDE)]).report
    assert report["not_possible"] == {}
    assert report.get("custom_operators", []) == []
    assert all(check["max_abs_difference"] <= 1e-5 for check in report["checks"])
    assert any(check["unclamped_in_holes"] > 0.1 for check in report["checks"]), "clamped values are equal in any case"


class Undecided(papers.UNet):
    """A network whose computation depends on the values of the image."""

    def predict(self, image, mask):  # type: ignore[no-untyped-def]
        return super().predict(image, mask) if image.mean() > 0.1 else image


@pytest.mark.parametrize("format_name", FORMATS[1:])
def test_a_network_that_cannot_be_traced_is_one_line_with_the_reason(format_name: Format) -> None:
    model: Inpainter = build(lambda: Undecided(widths=(4,)))
    with pytest.raises(ExportError) as error:
        Exporter(model, SIDE).export(format_name)
    assert str(error.value).startswith(f"{format_name} of Undecided failed: GuardOnDataDependentSymNode")
    assert "\n" not in str(error.value)


def test_poisson_blending_is_left_out_and_noted() -> None:
    model = build(partial(CURVES["glcic"], blending="poisson"))
    graph, exporter = InpaintingGraph(model), Exporter(model, SIDE)
    shape = InputShape(free_batch=True, side=SIDE)
    checks = exporter.check(lambda inputs: graph(**inputs), shape)
    assert all(check["max_abs_difference"] <= 1e-5 for check in checks)
    assert exporter._notes(shape) == ["Poisson blending is not in the graph"]
