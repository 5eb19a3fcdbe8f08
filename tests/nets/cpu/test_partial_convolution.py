"""Partial convolution of upsampled features against the plain layer."""

import pytest
import torch
from torch.nn.functional import conv2d, interpolate

from lit_inpaint.nets.cpu import partial_convolution
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.nets.cpu.partial_convolution import conv2d_of_upsampled
from lit_inpaint.nets.partial_conv import PartialConv2d


def test_conv2d_of_upsampled() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = conv2d(interpolate(x, scale_factor=2.0), weight, padding=1)
    torch.testing.assert_close(conv2d_of_upsampled(x, weight), expected)
    torch.autograd.gradcheck(conv2d_of_upsampled, (x, weight))


@pytest.mark.parametrize("size", [(32, 32), (31, 40), (6, 6)])
def test_partial_convolution_of_upsampled_features(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two convolutions where the map is large and even, one of the concatenated features elsewhere."""
    calls = list[int]()

    def counted(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return conv2d_of_upsampled(*arguments)

    monkeypatch.setattr(partial_convolution, "conv2d_of_upsampled", counted)
    torch.manual_seed(0)
    height, width = size
    layer = PartialConv2d(24, 8, 3, padding=1)
    deeper = torch.randn(2, 16, -(-height // 2), -(-width // 2))
    skipped = torch.randn(2, 8, height, width)
    num_known = torch.randint(25, (2, 1, height, width)).float()
    upsampled = interpolate(deeper, scale_factor=2.0)[..., :height, :width]
    expected, known = layer.convolve(torch.cat([upsampled, skipped], dim=1), num_known)
    plain, plain_known = layer.convolve(skipped, num_known, deeper)
    assert torch.equal(plain, expected)
    assert torch.equal(plain_known, known)
    use_fast_cpu_layers(layer)
    found, found_known = layer.convolve(skipped, num_known, deeper)
    assert len(calls) == (size == (32, 32))
    assert torch.equal(known, found_known)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
