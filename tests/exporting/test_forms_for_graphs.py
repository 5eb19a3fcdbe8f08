"""The forms of functions that exported graphs use equal those that eager computation uses."""

from typing import Any, Literal

import pytest
import torch
from torch import nn
from torch.export import Dim

from lit_inpaint import papers
from lit_inpaint.engine import any_size
from lit_inpaint.engine.any_size import crop, pad_to_multiple
from lit_inpaint.exporting.formats import run_torch_export, to_torch_export
from lit_inpaint.exporting.inpainting_graph import InpaintingGraph
from lit_inpaint.exporting.trace import any_deep_size
from lit_inpaint.nets import contextual_attention, padding
from lit_inpaint.nets.contextual_attention import subsample_nearest, truncated_distance_scores
from lit_inpaint.nets.cpu.layer_swap import use_torch_layers
from lit_inpaint.nets.partial_conv import PartialConv2d


@pytest.mark.parametrize("mode", ["replicate", "symmetric"])
@pytest.mark.parametrize(("size", "multiple", "min_side"), [((5, 9), 8, 1), ((16, 8), 8, 1), ((3, 20), 4, 16), ((7, 7), 1, 1)])
def test_padding_to_a_multiple(
    size: tuple[int, int],
    multiple: int,
    min_side: int,
    mode: Literal["replicate", "symmetric"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size)
    expected = pad_to_multiple(image, mask, multiple, min_side, mode)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = any_size.pad_to_multiple(image, mask, multiple, min_side, mode)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(crop(found[0], *size), image)


@pytest.mark.parametrize("size", [(2, 3), (9, 5), (20, 21)])
def test_reflection(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 3, *size)
    expected = padding.reflect_pad(x, 8)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(padding.reflect_pad(x, 8), expected)


@pytest.mark.parametrize("shifts", [(-1, 1), (1,), (-2,)])
def test_shifted_sums(shifts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 4, 5, 4, 5)
    expected = contextual_attention._add_shifted(x, 2, 4, shifts)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(contextual_attention._add_shifted(x, 2, 4, shifts), expected)


@pytest.mark.parametrize("margin", [0, 1])
def test_energy_of_patches(margin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 3, 6, 7)
    expected = contextual_attention._energy(x, margin)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(contextual_attention._energy(x, margin), expected)


class AlignedCorners(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = subsample_nearest(image, 2, True)
        with torch.autocast("cpu", enabled=False):
            return first + subsample_nearest(image, 2, True)


class Scores(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return truncated_distance_scores(image, image)


@pytest.mark.parametrize(
    ("layer", "free"),
    [(AlignedCorners(), {0: Dim("batch"), 2: 2 * Dim("height"), 3: 2 * Dim("width")}), (Scores(), {0: Dim("batch")})],
    ids=["aligned corners", "scores"],
)
def test_parts_of_attention_are_stored_with_free_sizes(layer: nn.Module, free: dict[int, Any]) -> None:
    with any_deep_size():
        program = torch.export.export(layer, (torch.rand(3, 2, 6, 8),), dynamic_shapes={"image": free})
    run = run_torch_export(to_torch_export(program, {}))
    for size in ((1, 2, 6, 8), (5, 2, 6, 8), (2, 2, 188, 26))[: len(free)]:
        image = torch.rand(size)
        torch.testing.assert_close(run({"image": image}), layer(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "model",
    [
        papers.PConv(levels=2, width=4),
        papers.EdgeConnect(width=2, discriminator_width=2),
        papers.WaveMix(modules=1, blocks=1, dimension=8),
        papers.UNet(widths=(4,)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_graph_has_torchs_layers_and_leaves_the_network_as_it_is(model: nn.Module) -> None:
    assert isinstance(model, papers.PConv | papers.EdgeConnect | papers.WaveMix | papers.UNet)
    plain = [type(layer) for layer in model.generator.modules()]
    model.configure_model()
    fast = [type(layer) for layer in model.modules()]
    graph = InpaintingGraph(model.eval())
    assert [type(layer) for layer in model.modules()] == fast
    model.generator(*([torch.rand(1, 3, 32, 32), *[torch.ones(1, 1, 32, 32)] * 2][: 3 if model.edge_detector else 2]))
    assert model.discriminator is None or graph.network.discriminator is None
    own = {nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, PartialConv2d}
    convolutions = [layer for layer in graph.modules() if isinstance(layer, tuple(own))]
    assert {type(layer) for layer in convolutions} <= own
    assert all(weight.is_contiguous() for weight in graph.state_dict().values())
    use_torch_layers(model)
    assert [cls.__bases__ if cls.__name__.startswith("Parametrized") else cls for cls in plain] == [
        type(layer).__bases__ if type(layer).__name__.startswith("Parametrized") else type(layer)
        for layer in model.generator.modules()
    ]
