"""Images of any size: padding to a multiple, and polyphase subsampling."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from lit_inpaint.engine.any_size import complete_subsampled, interleave, pad_to_multiple, subsample


@pytest.mark.parametrize(
    ("size", "min_side", "padded"), [((13, 24), 1, (16, 24)), ((1, 9), 24, (24, 24)), ((40, 3), 24, (40, 24))]
)
def test_padding_replicates_the_right_and_the_bottom_edge(
    size: tuple[int, int], min_side: int, padded: tuple[int, int]
) -> None:
    image, mask = torch.rand(2, 3, *size), torch.rand(2, 1, *size).round()
    rows, columns = (torch.arange(new).clamp(max=old - 1) for new, old in zip(padded, size, strict=True))
    for found, given in zip(pad_to_multiple(image, mask, 8, min_side), (image, mask), strict=True):
        assert torch.equal(found, given[:, :, rows][..., columns])


def test_a_multiple_is_not_padded() -> None:
    image, mask = torch.rand(2, 3, 24, 8), torch.zeros(2, 1, 24, 8)
    found = pad_to_multiple(image, mask, 8)
    assert found[0] is image
    assert found[1] is mask


SHAPES = [(1, 1), (2, 3), (3, 2), (4, 1), (1, 4), (6, 4)]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_each_part_is_every_kth_pixel_from_its_own_start(rows: int, columns: int) -> None:
    image = torch.arange(2 * 3 * 12 * 24.0).view(2, 3, 12, 24)
    parts = subsample(image, rows, columns)
    assert parts.shape == (2 * rows * columns, 3, 12 // rows, 24 // columns)
    for b in range(2):
        for i in range(rows):
            for j in range(columns):
                assert torch.equal(parts[(b * rows + i) * columns + j], image[b, :, i::rows, j::columns])


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_interleave_inverts_subsample(rows: int, columns: int) -> None:
    image = torch.rand(2, 3, 12, 24)
    parts = subsample(image, rows, columns)
    assert torch.equal(interleave(parts, rows, columns), image)
    others = torch.rand_like(parts)
    assert torch.equal(subsample(interleave(others, rows, columns), rows, columns), others)


def test_equal_steps_are_space_to_depth() -> None:
    """With equal steps, `subsample` is `pixel_unshuffle`."""
    image = torch.rand(2, 3, 12, 24)
    parts = subsample(image, 3, 3).view(2, 9, 3, 4, 8)
    assert torch.equal(parts.transpose(1, 2).flatten(1, 2), pixel_unshuffle(image, 3))


def test_sides_must_divide() -> None:
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        subsample(torch.rand(1, 3, 13, 24), 2, 2)


@pytest.mark.parametrize("size", [(70, 51), (64, 96)])
def test_subsampling_does_not_mix_the_content_of_holes_into_known_pixels(size: tuple[int, int]) -> None:
    """The first resizing interpolates: of a hole only its place may reach the network."""
    image, mask = torch.rand(1, 3, *size), torch.zeros(1, 1, *size)
    mask[..., 20:40, 10:30] = 1
    other = torch.where(mask > 0.5, 1 - image, image)
    outputs = [complete_subsampled(lambda small, hole: small * (1 - hole), one, mask, 32) for one in (image, other)]
    assert torch.equal(*outputs)
