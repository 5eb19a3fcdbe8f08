"""Inputs of `complete`: converted to the contract, or refused with one line."""

import numpy as np
import pytest
import torch
from tiny_gan import make_tiny

from lit_inpaint.types import complete_inputs

IMAGE = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
MASK = torch.zeros(2, 1, 8, 12)
MASK[0, :, 2:5, 3:9] = 1
MASK[1, :, 1:3, 1:3] = 1
BYTES = (IMAGE * 255).round().byte()


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (IMAGE, MASK),
        (BYTES, MASK),
        (BYTES.numpy(), MASK.numpy()),
        (IMAGE, MASK.bool()),
        (IMAGE, MASK[:, 0]),
        (IMAGE, MASK.byte()),
        (IMAGE, MASK.byte() * 255),
        (IMAGE.numpy(), MASK.numpy().astype(np.int64)),
    ],
)
def test_conversions(image: torch.Tensor, mask: torch.Tensor) -> None:
    x, m = complete_inputs(image, mask)
    assert torch.equal(m, MASK)
    assert torch.allclose(x, IMAGE, atol=1e-7)
    assert x.dtype == m.dtype == torch.float32


def test_one_image_and_one_mask_for_a_batch() -> None:
    model = make_tiny().eval()
    both = model.complete(IMAGE, MASK[0, 0])
    assert torch.equal(both, model.complete(IMAGE, MASK[:1].expand(2, -1, -1, -1)))
    assert torch.equal(model.complete(IMAGE[0], MASK[0])[0], model.complete(IMAGE[:1], MASK[:1])[0])
    known = MASK[:1].expand(2, 3, -1, -1) == 0
    assert torch.equal(both[known], IMAGE[known])


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (2 * IMAGE - 1, MASK, r"^image spans \[-1, 1\]; expected \[0, 1\]: pass \(image \+ 1\) / 2$"),
        (IMAGE * 255, MASK, r"^image spans \[0, 255\]; expected \[0, 1\]: pass image / 255$"),
        (IMAGE * torch.nan, MASK, r"^image spans \[nan, nan\]; expected \[0, 1\]$"),
        (IMAGE.movedim(1, -1), MASK, r"^image is \(2, 8, 12, 3\); expected \(B, 3, H, W\)"),
        (IMAGE.long(), MASK, r"^image is torch.int64; expected float"),
        (IMAGE, MASK * 255, r"^mask spans \[0, 255\]; expected exactly 0 and 1, 1 = hole$"),
        (IMAGE, MASK * 0.5, r"^mask spans \[0, 0.5\]"),
        (IMAGE, (MASK * 100).byte(), r"^mask has gray values; .*threshold it"),
        (IMAGE, MASK[..., :7], r"^mask is \(2, 1, 8, 7\) beside an image of \(2, 3, 8, 12\)"),
        (IMAGE, MASK.expand(-1, 3, -1, -1), r"^mask is \(2, 3, 8, 12\) beside"),
        (IMAGE, torch.zeros(3, 1, 8, 12), r"^mask is \(3, 1, 8, 12\) beside"),
    ],
)
def test_refused(image: torch.Tensor, mask: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_tiny().eval().complete(image, mask)
