"""Partial convolution against equations 1 and 2 as loops, and against outputs of NVIDIA's and naoto0804's code."""

from __future__ import annotations

import pytest
import torch
from papers import parity_fixtures as parity
from torch import Tensor

from lit_inpaint.nets.partial_conv import PartialConv2d


def by_the_book(layer: PartialConv2d, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 1 and 2, window by window; `known` has all channels."""
    k, s, p, d = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    x, m = (torch.nn.functional.pad(y, (p, p, p, p)) for y in (x, known))
    reach = d * (k - 1) + 1
    height, width = ((side - reach) // s + 1 for side in x.shape[-2:])
    output, updated = torch.zeros(len(x), layer.conv.out_channels, height, width), torch.zeros(len(x), 1, height, width)
    for b in range(len(x)):
        for i in range(height):
            for j in range(width):
                at = (b, slice(None), slice(i * s, i * s + reach, d), slice(j * s, j * s + reach, d))
                total = float(m[at].sum())
                if total > 0:
                    updated[b, 0, i, j] = 1
                    scaled = (layer.conv.weight * (x[at] * m[at])).sum((1, 2, 3)) * (m[at].numel() / total)
                    output[b, :, i, j] = scaled + (layer.bias if layer.bias is not None else 0)
    return output, updated


CASES = [
    (3, 1, 1, 1, True),
    (5, 2, 2, 1, True),
    (7, 2, 3, 1, False),
    (3, 1, 2, 2, True),
    (3, 2, 0, 1, False),
    (1, 1, 0, 1, True),
]


@pytest.mark.parametrize("channelwise", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "bias"), CASES)
def test_equations_1_and_2(kernel: int, stride: int, padding: int, dilation: int, bias: bool, channelwise: bool) -> None:
    torch.manual_seed(kernel)
    layer = PartialConv2d(4, 5, kernel, stride, padding, dilation, bias)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 11, 14)
    known = (torch.rand(2, 4 if channelwise else 1, 11, 14) > 0.5).float()
    known[:, :, :7, :8] = 0  # windows without a known pixel
    with torch.no_grad():
        output, updated = layer(x, known)
        expected, expected_known = by_the_book(layer, x, known.expand(-1, 4, -1, -1))
        same, same_known = layer.convolve(x * known, known.expand(-1, 4, -1, -1).sum(1, keepdim=True))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(updated, expected_known)
    assert (updated == 0).any() or kernel == 7
    assert torch.equal(output, same)
    assert torch.equal(updated, same_known)


def test_holes_are_ignored_and_stay_zero() -> None:
    layer = PartialConv2d(2, 3, 3, padding=1)
    torch.nn.init.ones_(layer.bias if layer.bias is not None else torch.empty(0))
    known = torch.zeros(1, 1, 9, 9)
    known[..., 0, 0] = 1
    x, other = torch.randn(1, 2, 9, 9), torch.randn(1, 2, 9, 9)
    other[..., 0, 0] = x[..., 0, 0]
    with torch.no_grad():
        output, updated = layer(x, known)
        assert torch.equal(output, layer(other, known)[0])
    assert updated.sum() == 4, "the hole shrinks by the reach of the window"
    assert not output[..., 2:, :].any(), "no bias in holes"
    assert not output[..., :, 2:].any()
    assert output[..., :2, :2].all()


def test_a_constant_stays_constant_up_to_the_border() -> None:
    """Partial convolution as padding: the border is a hole, not a frame of zeros."""
    layer = PartialConv2d(3, 4, 5, padding=2, bias=False)
    torch.nn.init.constant_(layer.conv.weight, 1 / (3 * 25))
    with torch.no_grad():
        output, _ = layer(torch.full((1, 3, 16, 16), 0.7), torch.ones(1, 1, 16, 16))
    torch.testing.assert_close(output, torch.full((1, 4, 16, 16), 0.7))


def test_any_mask_becomes_all_known() -> None:
    """Section III A: with enough layers it will be all ones, if anything was known."""
    layer, x, known = PartialConv2d(1, 1, 3, padding=1), torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12)
    known[..., 11, 0] = 1
    for _ in range(11):
        assert not known.all()
        _, known = layer(x, known)
    assert known.all()


def test_gradients() -> None:
    layer = PartialConv2d(2, 3, 3, stride=2, padding=1).double()
    x = torch.randn(2, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    known = (torch.rand(2, 1, 6, 7) > 0.4).double()
    known[:, :, :4, :4] = 0
    parameters = tuple(layer.parameters())
    assert len(parameters) == 2

    def output(x: Tensor, *_: Tensor) -> Tensor:
        result: Tensor = layer(x, known)[0]
        return result

    assert torch.autograd.gradcheck(output, (x, *parameters))
    (gradient,) = torch.autograd.grad(output(x).sum(), x)
    assert not gradient[(known == 0).expand_as(gradient)].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_counts_exactly_under_autocast(dtype: torch.dtype) -> None:
    """9,216 known values in a window: half precision would round the count, bfloat16 to a part in 128."""
    layer = PartialConv2d(1024, 4, 3, padding=1, bias=True)
    known = torch.ones(1, 1, 6, 6)
    known[..., :3, 1] = 0
    seen: list[Tensor] = []
    layer.conv.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        output, updated = layer(torch.randn(1, 1024, 6, 6), known)
    assert output.dtype == dtype
    assert updated.dtype == torch.float32
    count = torch.nn.functional.conv2d(known * 1024, torch.ones(1, 1, 3, 3), padding=1)
    torch.testing.assert_close(output, (seen[0] * (9216 / count)).to(dtype), atol=0, rtol=0)


def test_both_layouts_agree() -> None:
    layer = PartialConv2d(8, 8, 3, padding=1)
    x, known = torch.randn(2, 8, 12, 12), (torch.rand(2, 1, 12, 12) > 0.5).float()
    with torch.no_grad():
        expected, _ = layer(x, known)
        layer.to(memory_format=torch.channels_last)
        output, _ = layer(x.contiguous(memory_format=torch.channels_last), known)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, expected)


FIXTURE = parity.metadata("pconv_layers")


@pytest.mark.parametrize("case", FIXTURE["cases"])
def test_parity_with_public_layers(case: str) -> None:
    """NVIDIA's in seven settings, naoto0804's (kernel divided by C k², which it omits) in two; to 1e-6."""
    metadata, stored = FIXTURE["cases"][case], parity.arrays("pconv_layers")
    arguments = {name: metadata["args"][name] for name in metadata["args"] if name not in ("multi_channel", "return_mask")}
    layer = PartialConv2d(**arguments)
    state = {name.removeprefix("input_conv."): value for name, value in parity.fill_all(metadata["state_dict"]).items()}
    scale = state["weight"][0].numel() if case.startswith("naoto") else 1
    layer.load_state_dict(
        {"conv.weight": state["weight"] / scale} | ({"bias": state["bias"]} if layer.bias is not None else {})
    )
    known = 1 - parity.mask(48)
    known[..., :9, :9] = 0
    of_each_channel = known.repeat(1, 3, 1, 1)
    of_each_channel[:, 1, 30:40] = 0
    masks = {"single channel v1": known, "three channels v3": of_each_channel, "none": torch.ones_like(known)}
    with torch.no_grad():
        output, updated = layer(parity.image(48), masks[metadata["mask"]])
    crop = torch.from_numpy(stored[f"{case}__out"])
    assert tuple(output.shape) == tuple(stored[f"{case}__shape"])
    torch.testing.assert_close(output[..., :32, :32], crop, atol=1e-6, rtol=0)
    for channel in stored[f"{case}__mask"][0]:  # ours has one channel, theirs are equal
        assert torch.equal(updated[0, 0, :32, :32], torch.from_numpy(channel).float())
