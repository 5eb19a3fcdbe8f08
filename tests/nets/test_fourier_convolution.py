"""Fourier units against NumPy's transforms, and the layer's precision, layouts and reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from lit_inpaint.nets.fourier_convolution import FourierConvolution, FourierUnit, from_spectrum, to_spectrum


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 8), (6, 7), (5, 1)])
def test_spectrum_is_numpys_with_pairs_interleaved(size: tuple[int, int], layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64).to(memory_format=layout)
    found, expected = to_spectrum(x), np.fft.rfft2(x.numpy(), norm="ortho")
    np.testing.assert_allclose(found[:, 0::2].numpy(), expected.real, atol=1e-12)
    np.testing.assert_allclose(found[:, 1::2].numpy(), expected.imag, atol=1e-12)
    torch.testing.assert_close(from_spectrum(found, size), x)


def test_unit_by_hand() -> None:
    torch.manual_seed(0)
    unit, x = FourierUnit(4).double(), torch.randn(2, 4, 6, 10, dtype=torch.float64)
    spectrum = np.fft.rfft2(x.numpy(), norm="ortho")
    pairs = np.stack([spectrum.real, spectrum.imag], axis=2).reshape(2, 8, 6, 6)
    mixed = np.einsum("oi,bihw->bohw", unit.conv.weight.detach()[:, :, 0, 0].numpy(), pairs)
    mixed -= mixed.mean((0, 2, 3), keepdims=True)
    mixed = np.maximum(mixed / np.sqrt(mixed.var((0, 2, 3), keepdims=True) + 1e-5), 0).reshape(2, 4, 2, 6, 6)
    expected = np.fft.irfft2(mixed[:, :, 0] + 1j * mixed[:, :, 1], (6, 10), norm="ortho")
    np.testing.assert_allclose(unit(x).detach().numpy(), expected, atol=1e-10)


def test_layer_as_four_convolutions() -> None:
    """The public form: local and global outputs are sums of two paths each, with a norm of their own."""
    torch.manual_seed(0)
    layer = FourierConvolution(3, 4).double()
    x = torch.randn(2, 7, 6, 8, dtype=torch.float64)
    padded, weight = pad(x, (1, 1, 1, 1), mode="reflect"), layer.from_local.weight
    local = conv2d(padded[:, :3], weight[:3]) + conv2d(padded[:, 3:], layer.global_to_local.weight)
    spectral = conv2d(padded[:, :3], weight[3:]) + layer.global_to_global(x[:, 3:])
    with torch.no_grad():
        expected = [torch.relu(torch.nn.functional.batch_norm(y, None, None, training=True)) for y in (local, spectral)]
        torch.testing.assert_close(layer(x), torch.cat(expected, dim=1))


def test_each_output_depends_on_the_whole_image() -> None:
    torch.manual_seed(0)
    layer = FourierConvolution(2, 2).double()
    x = torch.randn(1, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    layer(x)[0, 2:, 3, 3].sum().backward()
    assert isinstance(x.grad, Tensor)
    assert bool((x.grad[0, 2:] != 0).all())


def test_gradients() -> None:
    torch.manual_seed(0)
    layer = FourierConvolution(2, 2).double().eval()
    assert torch.autograd.gradcheck(layer, torch.randn(1, 4, 4, 5, dtype=torch.float64, requires_grad=True))


def test_under_autocast_the_transform_is_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    rfftn = torch.fft.rfftn
    monkeypatch.setattr(torch.fft, "rfftn", lambda x, **options: seen.append(x.dtype) or rfftn(x, **options))
    layer, x = FourierConvolution(2, 4).eval(), torch.randn(1, 6, 8, 12)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert (seen, found.dtype) == ([torch.float32], torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(found.float(), layer(x), atol=0.05, rtol=0.05)
        assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
