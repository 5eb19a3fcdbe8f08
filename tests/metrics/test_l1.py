"""L1 against hand values."""

import pytest
import torch
from smooth_images import noisy_pairs

from lit_inpaint.metrics import l1


def test_l1_by_hand() -> None:
    target = torch.zeros(2, 3, 2, 2)
    prediction = torch.zeros(2, 3, 2, 2)
    prediction[0, 0, 0, 0] = 0.6  # one value of twelve
    prediction[1] = 0.25
    assert l1(prediction, target).tolist() == pytest.approx([5.0, 25.0])
    mask = torch.zeros(2, 1, 2, 2)
    mask[:, :, 0, :] = 1
    assert l1(prediction, target, mask).tolist() == pytest.approx([10.0, 25.0])
    assert l1(prediction, target, torch.zeros(2, 1, 2, 2)).isnan().all()


def test_each_image_is_measured_separately() -> None:
    prediction, target = noisy_pairs()
    separate = torch.cat([l1(prediction[i : i + 1], target[i : i + 1]) for i in range(4)])
    assert torch.equal(l1(prediction, target), separate)
