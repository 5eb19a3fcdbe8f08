"""Padding against NumPy's reflection and TensorFlow's formula."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lit_inpaint.nets.padding import PaddedConv2d, pad_same, reflect_pad


@pytest.mark.parametrize("margin", [1, 3, 4, 16])
def test_reflect_pad_is_numpys_reflection(margin: int) -> None:
    x = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect")
    assert torch.equal(reflect_pad(x, margin), torch.from_numpy(expected))


@pytest.mark.parametrize(("side", "before", "after"), [(8, 1, 2), (9, 2, 2), (2, 1, 2), (1, 2, 2)])
def test_same_padding_of_tensorflow(side: int, before: int, after: int) -> None:
    """The total is (ceil(n / 2) - 1) * 2 + 5 - n, its smaller half comes first."""
    total = ((side + 1) // 2 - 1) * 2 + 5 - side
    assert (before, after) == (total // 2, total - total // 2)
    padded = pad_same(torch.ones(1, 1, side, 4))
    assert torch.equal(padded[0, 0, :, 1], torch.tensor([0.0] * before + [1.0] * side + [0.0] * after))


@pytest.mark.parametrize("padding", ["same", "symmetric", "reflect"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(5, 1, 1), (3, 2, 1), (3, 1, 16), (5, 2, 1)])
def test_padded_conv_by_hand(padding: str, kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer, x = PaddedConv2d(2, 3, kernel, stride, dilation, padding).double(), torch.rand(1, 2, 8, 6, dtype=torch.float64)  # type: ignore[arg-type]
    margin = kernel // 2 * dilation
    before = margin - 1 if padding == "same" and stride == 2 else margin  # even sides: one zero fewer at the start
    widths = ((0, 0), (0, 0), (before, margin), (before, margin))
    padded = torch.from_numpy(np.pad(x.numpy(), widths, mode="reflect" if padding == "reflect" else "constant"))
    expected: Tensor = torch.nn.functional.conv2d(padded, layer.conv.weight, layer.conv.bias, stride, 0, dilation)
    found = layer(x)
    assert found.shape == (1, 3, 8 // stride, 6 // stride)
    torch.testing.assert_close(found, expected)
