"""Exports that need other operators, that are not possible, or that leave something out; `export_cases.py` has all papers."""

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


@pytest.mark.parametrize("name", ["lama", "pepsi"])
def test_fourier_units_and_attention_equal_the_network_in_onnx(name: str) -> None:
    """The two whose operators ONNX does not have; the other papers are exported by hand."""
    exporter = Exporter(build(CASES[name]))
    report = exporter.export("onnx", shapes=[InputShape(free_batch=False, side=SIDE)]).report
    assert report["not_possible"] == {}
    assert report["custom_operators"] == []
    assert all(check["max_abs_difference"] <= 1e-5 and check["unclamped_in_holes"] > 0.1 for check in report["checks"])


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
