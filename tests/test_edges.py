"""Canny edges against scikit-image, holes, libraries."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2gray
from skimage.data import astronaut
from skimage.feature import canny
from skimage.transform import resize
from torch import Tensor

from lit_inpaint.edges import CannyEdges, CannyLibrary, to_gray
from lit_inpaint.errors import UserError


def photo() -> Tensor:
    """The photo of scikit-image at 128x128, (1, 3, 128, 128) uint8."""
    pixels = resize(astronaut(), (128, 128), anti_aliasing=True)
    return torch.from_numpy((pixels * 255).astype(np.uint8)).permute(2, 0, 1)[None]


def hole() -> Tensor:
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 30:90, 40:100] = 1
    return mask


@pytest.mark.parametrize("masked", [False, True])
def test_equals_scikit_image(masked: bool) -> None:
    image = photo()
    known = (hole() == 0)[0, 0].numpy() if masked else None
    expected = canny(rgb2gray(image[0].permute(1, 2, 0).numpy()), sigma=2, mask=known)
    for x in (image, image.float() / 255, image.double() / 255):
        found = CannyEdges()(x, hole() if masked else None)
        assert (found.shape, found.dtype) == ((1, 1, 128, 128), torch.float32)
        assert np.array_equal(found[0, 0].numpy() == 1, expected)
    assert expected.mean() > 0.02


@pytest.mark.parametrize("library", ["scikit-image", "kornia"])
def test_holes_neither_count_nor_give_edges(library: CannyLibrary) -> None:
    image, mask, detector = photo(), hole(), CannyEdges(library=library)
    other = torch.where(mask == 1, 255 - image, image)
    found = detector(image, mask)
    assert torch.equal(detector(other, mask), found)
    assert not (found * mask).any()
    flat = torch.full((2, 3, 128, 128), 90, dtype=torch.uint8)
    flat[1] = 0
    assert not detector(flat, mask.expand(2, -1, -1, -1)).any(), "borders of holes are no edges"
    assert not detector(image, torch.ones_like(mask)).any()


def test_the_libraries_find_different_edges() -> None:
    one, other = (CannyEdges(library=library)(photo()) for library in ("scikit-image", "kornia"))
    overlap = float((one * other).sum() / (one + other).clamp(max=1).sum())
    assert 0.75 < overlap < 0.95


def test_under_autocast_nothing_changes() -> None:
    for library in ("scikit-image", "kornia"):
        detector = CannyEdges(library=library)
        with torch.autocast("cpu", torch.bfloat16):
            found = detector(photo().float() / 255)
        assert torch.equal(found, detector(photo().float() / 255))


def test_gray_weights_are_scikit_images() -> None:
    image = photo().double() / 255
    np.testing.assert_allclose(to_gray(image)[0, 0].numpy(), rgb2gray(image[0].permute(1, 2, 0).numpy()), atol=1e-12)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_a_sigma_that_is_no_width_raises(sigma: float) -> None:
    with pytest.raises(UserError, match="sigma of Canny's edges"):
        CannyEdges(sigma)
