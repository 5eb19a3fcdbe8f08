"""Sources composed of other sources: union, mixture, mask ratio, flips and rotations."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch

import lit_inpaint.masks
from lit_inpaint.errors import UserError
from lit_inpaint.masks import (
    Boxes,
    Center,
    CrossedStrokes,
    FreeForm,
    LamaMasks,
    MaskRatio,
    MaskSource,
    MaskUnion,
    Mixture,
    RandomFlipRot90,
    Shapes,
)
from lit_inpaint.masks.lama_masks import LamaSet


class Corner(MaskSource):
    """A source without its own `sample_uint8`: an L in the corner, different in all eight orientations."""

    def __call__(self, size: tuple[int, int], rng: torch.Generator) -> torch.Tensor:
        mask = torch.zeros(1, *size)
        mask[:, :3, 0] = 1
        mask[:, 0, :2] = 1
        return mask


def test_flips_and_rotations_give_eight_orientations() -> None:
    rng = torch.Generator().manual_seed(0)
    drawn = [RandomFlipRot90(Corner())((5, 7), rng) for _ in range(800)]
    assert all(mask.shape == (1, 5, 7) and mask.sum() == 4 for mask in drawn)
    counts = Counter(mask.numpy().tobytes() for mask in drawn)
    assert len(counts) == 8
    assert all(count == pytest.approx(100, abs=4 * (800 * 7 / 64) ** 0.5) for count in counts.values())


def test_union_has_the_holes_of_all_sources() -> None:
    sources = (FreeForm(), Boxes(), Center(8), Corner())
    union = MaskUnion(sources)((48, 64), torch.Generator().manual_seed(1))
    twin = torch.Generator().manual_seed(1)
    assert torch.equal(union, torch.stack([source((48, 64), twin) for source in sources]).amax(dim=0))


def test_uint8_and_float_masks_are_equal() -> None:
    for source in (
        FreeForm(),
        Corner(),
        Mixture((Corner(), Boxes())),
        MaskRatio(FreeForm(), 0.1, 0.5),
        RandomFlipRot90(Corner()),
    ):
        mask = source.sample_uint8((40, 56), torch.Generator().manual_seed(2))
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, source((40, 56), torch.Generator().manual_seed(2))[0].numpy())


@pytest.mark.parametrize("kind", get_args(LamaSet))
def test_mask_ratio_around_each_set_of_lama(kind: LamaSet) -> None:
    rng = torch.Generator().manual_seed(0)
    ranged = MaskRatio(LamaMasks(kind), 0.2, 0.3)
    assert all(0.2 <= ranged.sample_uint8((64, 64), rng).mean() < 0.3 for _ in range(10))


def test_composed_sources_compare_and_print_as_python() -> None:
    source = MaskRatio(
        Mixture((LamaMasks("thin"), RandomFlipRot90(CrossedStrokes()), MaskUnion((Shapes(), Center(8)))), (1.0, 2.0, 3.0)), 0.1
    )
    names = dict(vars(lit_inpaint.masks))
    assert eval(repr(source), names) == source
    assert source != MaskRatio(Mixture((LamaMasks("thick"), RandomFlipRot90(CrossedStrokes()), MaskUnion((Shapes(),)))), 0.1)
    assert len({source, eval(repr(source), names)}) == 1


def test_lama_test_set_on_a_tiny_image_is_an_error_in_one_line() -> None:
    with pytest.raises(UserError, match=r"LamaMasks\('medium'\).*1x1 image") as caught:
        LamaMasks("medium")((1, 1), torch.Generator().manual_seed(0))
    assert "\n" not in str(caught.value)
