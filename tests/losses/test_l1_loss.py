from __future__ import annotations

import pytest
import torch

from lit_inpaint.losses.l1 import masked_l1


def test_averages_over_all_pixels_and_channels() -> None:
    difference = torch.tensor([1.0, -2.0, 3.0, -4.0]).view(1, 1, 2, 2).repeat(2, 3, 1, 1)
    mask = torch.tensor([0.0, 1.0, 0.5, 0.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    assert float(masked_l1(difference, mask)) == pytest.approx((2 + 1.5) / 4)
    assert float(masked_l1(difference, 1 - mask)) == pytest.approx((1 + 1.5 + 4) / 4)
