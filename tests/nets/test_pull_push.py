"""Pull-push interpolation against its definition, and at the limits."""

import pytest
import torch

from lit_inpaint.nets.pull_push import pull_push


def test_known_pixels_stay_and_holes_are_means_of_known_ones() -> None:
    image = torch.rand(2, 3, 33, 20, dtype=torch.float64)
    mask = (torch.rand(2, 1, 33, 20) > 0.4).double()
    filled = pull_push(image, mask)
    known = (mask == 0).expand_as(image)
    assert torch.equal(filled[known], image[known])
    for found, source, hole in zip(filled, image, mask, strict=True):
        values = torch.where(hole == 0, source, torch.nan)
        for channel, all_known in zip(found, values, strict=True):
            seen = all_known[~all_known.isnan()]
            assert seen.min() <= channel.min()
            assert channel.max() <= seen.max()


def test_a_square_of_four_pixels_is_filled_with_the_mean_of_the_known_ones() -> None:
    image = torch.tensor([[[[0.2, 0.6], [9.0, 9.0]]]])
    filled = pull_push(image, torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]]))
    torch.testing.assert_close(filled, torch.tensor([[[[0.2, 0.6], [0.4, 0.4]]]]))


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (3, 1000)])
def test_a_constant_image_is_constant_whatever_is_missing(size: tuple[int, int]) -> None:
    mask = torch.zeros(1, 1, *size)
    mask[..., 1:] = 1
    filled = pull_push(torch.where(mask == 1, torch.rand(1, 3, *size), 0.3), mask)
    torch.testing.assert_close(filled, torch.full_like(filled, 0.3))


def test_an_image_without_known_pixels_is_black() -> None:
    assert not pull_push(torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)).any()


def test_the_gradient_is_that_of_finite_differences() -> None:
    image = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(1, 1, 5, 6) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: pull_push(x, mask), (image,))
