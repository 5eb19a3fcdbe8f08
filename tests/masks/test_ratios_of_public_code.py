"""Mask ratios of each source, compared with samples of the public code that it follows.

Each source has one or two references. "Measured" references are samples of 2,000 masks from the public mask functions at the
commits that the sources name. PEPSI's loops over pixels were rewritten as array expressions, which gave the same masks for the
same draws. The walk's sample has 500 masks, with NumPy's clipping rewritten as min and max. The other references are figures of
other samples, some of them small. Our sample and the reference both have a sampling error: the bounds are four standard errors
of their difference. Quantiles are compared by the fraction of our sample below the reference's quantile.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from lit_inpaint.masks import (
    Boxes,
    CellularAutomaton,
    Center,
    CrossedStrokes,
    FreeForm,
    HalfImage,
    IrregularStrokes,
    LamaMasks,
    MaskSource,
    MaskUnion,
    PepsiStrokes,
    RandomFlipRot90,
    RandomWalk,
    Shapes,
)


@dataclass(frozen=True)
class Reference:
    """Statistics of a sample of `n` masks of the public code, rounded to `rounding`."""

    mean: float
    std: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    n: int = 2000
    rounding: float = 0.001


def measured(mean: float, std: float, *quantiles: float, n: int = 2000) -> Reference:
    return Reference(mean, std, tuple(zip((0.05, 0.5, 0.95), quantiles, strict=True)), n, rounding=0.0001)


def ends(low: float, high: float) -> tuple[tuple[float, float], ...]:
    return ((0.05, low), (0.95, high))


def three(low: float, median: float, high: float) -> tuple[tuple[float, float], ...]:
    return ((0.05, low), (0.5, median), (0.95, high))


RECTANGLE = Boxes(count=(1, 1), side=(0.375, 0.5), margin=0.0)
SAMPLES = PepsiStrokes(strokes=(3, 6), pieces=(5, 10), radius=(15 / 256, 20 / 256))

# source, side, masks to draw, references
TABLE: list[tuple[MaskSource, int, int, list[Reference]]] = [
    (
        Boxes((1, 1), (0.3, 0.7), 0.0),
        256,
        2000,
        [measured(0.2479, 0.0821, 0.1316, 0.2361, 0.3997), Reference(0.249, 0.082, ends(0.129, 0.409))],
    ),
    (
        CrossedStrokes(),
        256,
        2000,
        [measured(0.3976, 0.0606, 0.2964, 0.3974, 0.4962), Reference(0.398, 0.063, ends(0.296, 0.503))],
    ),
    (
        CellularAutomaton(),
        256,
        2000,
        [measured(0.5123, 0.0696, 0.3837, 0.4987, 0.6188), Reference(0.511, 0.073, ends(0.374, 0.628))],
    ),
    (Boxes(), 256, 2000, [measured(0.2441, 0.1135, 0.0587, 0.2464, 0.4288), Reference(0.243)]),
    (IrregularStrokes(), 256, 2000, [measured(0.4617, 0.2154, 0.092, 0.477, 0.7982), Reference(0.458)]),
    (
        LamaMasks("train"),
        256,
        2000,
        [measured(0.3515, 0.2038, 0.0692, 0.3172, 0.7394), Reference(0.356, 0.205, three(0.066, 0.324, 0.747))],
    ),
    (
        LamaMasks("train_small"),
        256,
        2000,
        [measured(0.2299, 0.1587, 0.0381, 0.1933, 0.5118), Reference(0.229, None, three(0.042, 0.186, 0.513))],
    ),
    (
        LamaMasks("thin"),
        256,
        2000,
        [measured(0.2935, 0.1274, 0.0760, 0.3046, 0.4749), Reference(0.283, None, three(0.067, 0.288, 0.470))],
    ),
    (
        LamaMasks("medium"),
        256,
        2000,
        [measured(0.2348, 0.1310, 0.0201, 0.2589, 0.4240), Reference(0.235, None, three(0.016, 0.259, 0.433))],
    ),
    (
        LamaMasks("thick"),
        256,
        2000,
        [measured(0.2637, 0.1302, 0.0565, 0.2664, 0.4694), Reference(0.261, None, three(0.053, 0.260, 0.472))],
    ),
    (LamaMasks("thin_512"), 512, 500, [measured(0.2843, 0.1342, 0.0603, 0.2966, 0.4753), Reference(0.284)]),
    (LamaMasks("medium_512"), 512, 500, [measured(0.2746, 0.1396, 0.0394, 0.2952, 0.4760), Reference(0.273)]),
    (LamaMasks("thick_512"), 512, 500, [measured(0.2649, 0.1309, 0.0521, 0.2672, 0.4701), Reference(0.267)]),
    (
        LamaMasks("wavemix_stl10"),
        96,
        2000,
        [measured(0.2635, 0.2221, 0.0, 0.1829, 0.6766), Reference(0.260, 0.221, ends(0.0, 0.687))],
    ),
    (LamaMasks("wavemix_224"), 224, 2000, [measured(0.1977, 0.0721, 0.0889, 0.1930, 0.3293), Reference(0.202, 0.074)]),
    (Shapes(), 256, 2000, [measured(0.3007, 0.1008, 0.1303, 0.3056, 0.4550), Reference(0.305, 0.104)]),
    (Shapes(), 512, 500, [measured(0.2640, 0.0954, 0.1102, 0.2642, 0.4165), Reference(0.269, 0.093)]),
    (PepsiStrokes(), 256, 2000, [measured(0.4458, 0.1087, 0.2701, 0.4460, 0.6223), Reference(0.42, 0.10, n=60, rounding=0.01)]),
    (RandomFlipRot90(PepsiStrokes()), 256, 1000, [measured(0.4458, 0.1087, 0.2701, 0.4460, 0.6223)]),
    (SAMPLES, 256, 2000, [measured(0.3537, 0.0914, 0.2055, 0.3529, 0.5055), Reference(0.36, n=60, rounding=0.01)]),
    (RandomWalk(), 256, 250, [measured(0.1882, 0.0237, 0.1472, 0.1909, 0.2217, n=500), Reference(0.203, 0.013, n=12)]),
    (RandomWalk(), 512, 120, [measured(0.1882, 0.0237, 0.1470, 0.1909, 0.2220, n=500)]),
    (FreeForm(), 256, 2000, [Reference(0.148, None, ends(0.036, 0.289))]),
    (RECTANGLE, 256, 2000, [Reference(0.192)]),
    (MaskUnion((FreeForm(), RECTANGLE)), 256, 2000, [Reference(0.311, None, ends(0.210, 0.435))]),
    (HalfImage(), 256, 10, [Reference(0.5)]),
    (Center(64), 256, 10, [Reference(0.0625, rounding=0.0)]),
]


@pytest.mark.parametrize(("source", "side", "n", "references"), TABLE, ids=[f"{row[0]}, {row[1]}" for row in TABLE])
def test_mask_ratios_match_the_public_code(source: MaskSource, side: int, n: int, references: list[Reference]) -> None:
    rng = torch.Generator().manual_seed(0)
    sample = np.array([np.count_nonzero(source.sample_uint8((side, side), rng)) / side**2 for _ in range(n)])
    std = sample.std(ddof=1)
    for reference in references:
        error, rounded = 4 * (1 / n + 1 / reference.n) ** 0.5, reference.rounding / 2
        assert sample.mean() == pytest.approx(reference.mean, abs=error * std + rounded)
        if reference.std is not None:  # flatter than a normal distribution, so the std's error is at most the normal's
            assert std == pytest.approx(reference.std, abs=error * std / 2**0.5 + rounded)
        for level, quantile in reference.quantiles:
            tolerance = error * (level * (1 - level)) ** 0.5
            assert (sample < quantile - rounded).mean() < level + tolerance
            assert (sample <= quantile + rounded).mean() > level - tolerance


def test_ten_percent_of_wavemix_masks_are_empty() -> None:
    """205 of 2,000 of the public code's are empty: one box mask in five has no box."""
    rng = torch.Generator().manual_seed(0)
    n = 1000
    empty = sum(not LamaMasks("wavemix_stl10").sample_uint8((96, 96), rng).any() for _ in range(n))
    assert empty == pytest.approx(0.1 * n, abs=4 * (n * 0.1 * 0.9) ** 0.5)


@pytest.mark.parametrize("side", [64, 128])
def test_mask_ratios_do_not_depend_on_the_size(side: int) -> None:
    """Lengths are fractions of the image: a smaller one has the same ratio, apart from widths rounded to whole pixels."""
    rng = torch.Generator().manual_seed(0)
    for source, mean in [(FreeForm(), 0.148), (CrossedStrokes(), 0.398), (IrregularStrokes(), 0.460), (PepsiStrokes(), 0.446)]:
        ratios = np.array([np.count_nonzero(source.sample_uint8((side, side), rng)) / side**2 for _ in range(500)])
        assert ratios.mean() == pytest.approx(mean, abs=0.03 + 4 * ratios.std() / 500**0.5)
