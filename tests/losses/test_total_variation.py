from __future__ import annotations

import pytest
import torch

from lit_inpaint.losses.total_variation import dilate_holes, total_variation


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_against_loops(everywhere: bool, squared: bool) -> None:
    torch.manual_seed(0)
    b, c, h, w = 2, 3, 5, 7
    image = torch.rand(b, c, h, w, dtype=torch.float64)
    region = torch.ones(b, 1, h, w) if everywhere else (torch.rand(b, 1, h, w) > 0.4).float()
    down = across = 0.0
    for n in range(b):
        for k in range(c):
            for i in range(h):
                for j in range(w):
                    here = image[n, k, i, j]
                    if i + 1 < h and region[n, 0, i, j] and region[n, 0, i + 1, j]:
                        down += float(abs(image[n, k, i + 1, j] - here) ** (2 if squared else 1))
                    if j + 1 < w and region[n, 0, i, j] and region[n, 0, i, j + 1]:
                        across += float(abs(image[n, k, i, j + 1] - here) ** (2 if squared else 1))
    expected = down / (b * c * (h - 1) * w) + across / (b * c * h * (w - 1))
    found = total_variation(image, None if everywhere else region, squared)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_only_pairs_inside_the_region_have_gradients() -> None:
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    region = torch.zeros(1, 1, 8, 8)
    region[..., 2:5, 3:6] = 1
    (gradient,) = torch.autograd.grad(total_variation(image, region), image)
    assert gradient[region == 1].any()
    assert not gradient[region == 0].any()


def test_half_precision_is_converted() -> None:
    image = torch.rand(1, 3, 64, 64)
    found = total_variation(image.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, total_variation(image.bfloat16().float()))


@pytest.mark.parametrize("width", [1, 2])
def test_dilate_holes_is_dilation_by_a_square(width: int) -> None:
    torch.manual_seed(0)
    mask = (torch.rand(2, 1, 12, 15) > 0.95).float()
    mask[0, 0, 0, 0] = 1
    expected = torch.zeros_like(mask)
    for n, _, i, j in mask.nonzero().tolist():
        expected[n, 0, max(0, i - width) : i + width + 1, max(0, j - width) : j + width + 1] = 1
    assert torch.equal(dilate_holes(mask, width), expected)
