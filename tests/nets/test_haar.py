from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_inpaint.nets.haar import haar


def by_hand(x: Tensor) -> Tensor:
    """Transform patch by patch."""
    batch, channels, height, width = x.shape
    y = x.new_zeros(batch, 4 * channels, height // 2, width // 2)
    for channel in range(channels):
        for i in range(height // 2):
            for j in range(width // 2):
                (a, b), (c, d) = x[:, channel, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].permute(1, 2, 0)
                y[:, channel, i, j] = (a + b + c + d) / 2
                start = channels + 3 * channel
                y[:, start, i, j] = (a + b - c - d) / 2
                y[:, start + 1, i, j] = (a - b + c - d) / 2
                y[:, start + 2, i, j] = (a - b - c + d) / 2
    return y


def test_against_the_sums_by_hand() -> None:
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(haar(x), by_hand(x))


def test_keeps_energy() -> None:
    x = torch.randn(2, 5, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(haar(x).square().sum(), x.square().sum())


def test_second_level_is_the_transform_of_the_low_band() -> None:
    """Two levels of means are the mean of 4x4 pixels, times 4."""
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    twice = haar(haar(x)[:, :3])
    torch.testing.assert_close(twice[:, :3], 4 * nn.functional.avg_pool2d(x, 4))


def test_gradient() -> None:
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(haar, x)


def test_memory_layout_changes_nothing() -> None:
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(haar(x.contiguous(memory_format=torch.channels_last)), haar(x))
