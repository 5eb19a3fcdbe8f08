"""Names of variants and mask sources in tables."""

from pathlib import Path

import pytest

from lit_inpaint.evaluation.method_labels import label_checkpoints, label_masks, name_published, variant_of
from lit_inpaint.masks import Boxes, Center, FreeForm, MaskRatio, MaskSource, Mixture, RandomFlipRot90
from lit_inpaint.papers import PEPSI, DeepGIN, LPINet, PConv, UNet, WaveMix


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        ([FreeForm()], ["FreeForm()"]),
        ([FreeForm(strokes=(1, 2))], ["FreeForm(strokes=(1, 2))"]),
        ([Center(8), Center()], ["Center(size=8)", "Center(size=None)"]),
        (
            [MaskRatio(low=0.3, high=0.4), MaskRatio()],
            ["MaskRatio(source=FreeForm(), low=0.3, high=0.4)", "MaskRatio(source=FreeForm(), low=0.4, high=0.5)"],
        ),
        (
            [MaskRatio(RandomFlipRot90(FreeForm())), FreeForm(step=0.25)],
            ["MaskRatio(source=RandomFlipRot90(source=FreeForm(step=0.125)))", "FreeForm(step=0.25)"],
        ),
        (
            [Mixture((Center(8), Boxes()), (1.0, 2.0)), Mixture((Center(),))],
            [
                "Mixture(sources=(Center(size=8), Boxes()), weights=(1.0, 2.0))",
                "Mixture(sources=(Center(size=None),), weights=None)",
            ],
        ),
    ],
)
def test_options_that_differ_from_the_defaults_are_shown_for_a_whole_class(
    sources: list[MaskSource], labels: list[str]
) -> None:
    assert label_masks(sources) == labels


def test_different_sources_have_different_labels() -> None:
    sources = [MaskRatio(FreeForm(), tens / 10, (tens + 1) / 10, attempts) for tens in range(5) for attempts in (2, 8)]
    assert len(set(label_masks(sources))) == len(sources)


def test_a_narrower_network_is_no_published_variant() -> None:
    assert variant_of(UNet()) == "Custom CNN"
    assert variant_of(DeepGIN(attention="single", back_projection=False, block="standard")) == "StdResBlk-SA"
    others = UNet(widths=(8, 16)), DeepGIN(width=4), PConv(width=8, levels=3), PEPSI(size=32, width=8), WaveMix(modules=1)
    for model in others:
        assert variant_of(model) is None, type(model).__name__


@pytest.mark.parametrize(
    ("method", "labels", "expected"),
    [
        ("CA", ["LPINet", "DeepFillV1"], "CA (DeepFillV1)"),
        ("CA", ["DeepFillV1 second run"], "CA (DeepFillV1)"),
        ("CA", ["LPINet"], "CA"),
        ("DeepFillv1", ["DeepFillV1"], "DeepFillv1"),
        ("LPI", ["LPINet"], "LPI"),
        ("SPDResBlk-MSSA", ["DeepGIN"], "SPDResBlk-MSSA (DeepGIN)"),
        ("Nobody", ["DeepFillV1"], "Nobody"),
    ],
)
def test_published_methods_are_named_with_our_class(method: str, labels: list[str], expected: str) -> None:
    assert name_published(method, labels) == expected


@pytest.mark.parametrize(
    ("networks", "paths", "expected"),
    [
        ("pl", ["a/last.ckpt", "a/best.ckpt"], ["PConv", "LPINet"]),
        ("ppl", ["a/checkpoints/last.ckpt", "b/checkpoints/last.ckpt", "a/x.ckpt"], ["PConv a", "PConv b", "LPINet"]),
        ("pp", ["a/checkpoints/last.ckpt", "a/checkpoints/best.ckpt"], ["PConv last", "PConv best"]),
        (
            "pppl",
            ["x/a/last.ckpt", "x/a/best.ckpt", "x/b/last.ckpt", "x/l/last.ckpt"],
            ["PConv a/last", "PConv a/best", "PConv b/last", "LPINet"],
        ),
        (
            "ppl",
            ["benchmark/pconv/checkpoints/last.ckpt", "benchmark/networks/pconv/checkpoints/last.ckpt", "l.ckpt"],
            ["PConv benchmark/pconv", "PConv networks/pconv", "LPINet"],
        ),
    ],
)
def test_checkpoints_of_one_paper_are_told_apart_by_the_shortest_end_of_their_paths(
    networks: str, paths: list[str], expected: list[str]
) -> None:
    models = {"p": PConv(width=8, levels=3), "l": LPINet(blocks=1)}
    assert label_checkpoints([models[name] for name in networks], [Path(path) for path in paths]) == expected


def test_checkpoints_of_one_name_have_whole_paths(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("net.ckpt", "net.safetensors")]
    model = PConv(width=8, levels=3)
    assert label_checkpoints([model, model], paths) == [f"PConv {path}" for path in paths]
