"""`RandomWalk`: reflection at the borders, connected tracks, and fair random bits."""

import random

import cv2
import numpy as np
import pytest
import torch

from lit_inpaint.masks import RandomWalk, random_walk
from lit_inpaint.masks.base import random_bits
from lit_inpaint.masks.random_walk import _REACH, _fold_margins, _periodic_track, _place, _walk

MOVES = {0: (1, 0), 1: (-1, 0), 2: (0, 1), 3: (0, -1)}


def walk_step_by_step(position: list[int], words: np.ndarray, steps: int, side: int) -> tuple[set[tuple[int, int]], list[int]]:
    """Walk in a plain loop; moves have the opposite sign on reflected intervals, which only the past decides."""
    place, unreflected, visited = list(position), list(position), set()
    moves = [word >> 2 * k & 3 for word in words.T.flatten().tolist() for k in range(4)]
    for done, move in enumerate(moves):
        for axis, step in enumerate(MOVES[move]):
            sign = -1 if unreflected[axis] // side % 2 else 1
            place[axis] = min(max(place[axis] + sign * step, 0), side - 1)
            unreflected[axis] += step
        if done < steps:
            visited.add((place[1], place[0]))
    return visited, [coordinate % (2 * side) for coordinate in unreflected]


@pytest.mark.parametrize("side", [1, 2, 5, 15, 16, 17, 40])
@pytest.mark.parametrize("missing", [0, 1, 6, 15])
def test_reflected_walk_equals_a_walk_that_stops_at_the_borders(side: int, missing: int) -> None:
    rng = np.random.default_rng(side)
    for groups in (1, 2, 60):
        words = rng.integers(0, 256, (_REACH // 4, groups)).astype(np.uint8)
        position = [int(rng.integers(side)) for _ in range(2)]
        grid = torch.zeros((side + 2 * _REACH,) * 2, dtype=torch.uint8)
        last = _walk(position, words, groups * _REACH - missing, grid)
        found = _fold_margins(_fold_margins(grid.numpy()).T).T
        visited, expected = walk_step_by_step(position, words, groups * _REACH - missing, side)
        assert found.shape == (side, side)
        assert set(zip(*(axis.tolist() for axis in found.nonzero()), strict=True)) == visited
        assert last == expected


def test_walk_continues_where_it_stopped() -> None:
    words = np.random.default_rng(0).integers(0, 256, (_REACH // 4, 80)).astype(np.uint8)
    whole, parts = (torch.zeros((20 + 2 * _REACH,) * 2, dtype=torch.uint8) for _ in range(2))
    end = _walk([3, 8], words, 80 * _REACH, whole)
    middle = _walk([3, 8], words[:, :30], 30 * _REACH, parts)
    assert _walk(middle, words[:, 30:], 50 * _REACH, parts) == end
    folded, joined = (_fold_margins(_fold_margins(grid.numpy()).T) for grid in (whole, parts))
    assert np.array_equal(folded, joined)


def test_track_is_connected_and_has_the_given_length() -> None:
    for seed in range(20):
        mask = RandomWalk(canvas=64, steps=200).sample_uint8((64, 64), torch.Generator().manual_seed(seed))
        assert cv2.connectedComponents(mask, connectivity=4)[0] == 2
        assert 15 < mask.sum() <= 200
    assert RandomWalk(canvas=64, steps=1).sample_uint8((64, 64), torch.Generator().manual_seed(0)).sum() == 1


def test_next_chunk_continues_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_walk, "_CHUNK", _REACH)
    for seed in range(5):
        mask = RandomWalk(canvas=256, steps=8000).sample_uint8((256, 256), torch.Generator().manual_seed(seed))
        assert cv2.connectedComponents(mask, connectivity=4)[0] == 2
        assert min(np.ptp(indices) for indices in np.nonzero(mask)) > 2 * _REACH  # restarted, chunks reach so far


def test_walks_are_symmetric_and_reach_every_pixel() -> None:
    rng = torch.Generator().manual_seed(0)
    n = 2000
    ends = np.sum([RandomWalk(canvas=4, steps=6).sample_uint8((4, 4), rng) for _ in range(n)], axis=0)
    flipped = np.stack([ends, ends[::-1], ends[:, ::-1], ends.T, np.rot90(ends), np.rot90(ends, 3), np.rot90(ends, 2)])
    assert np.ptp(flipped, axis=0).max() < 6 * (n / 4) ** 0.5  # the same in all directions
    assert RandomWalk(canvas=4, steps=10_000).sample_uint8((4, 4), rng).all()


def test_track_is_resized_to_the_image() -> None:
    mask = RandomWalk(canvas=32).sample_uint8((32, 32), torch.Generator().manual_seed(2))
    wide = RandomWalk(canvas=32).sample_uint8((64, 128), torch.Generator().manual_seed(2))
    assert np.array_equal(wide, mask.repeat(2, axis=0).repeat(4, axis=1))


@pytest.mark.parametrize("side", [1, 3, 15, 16, 24])
@pytest.mark.parametrize("steps", [1, 21, 900])
def test_kept_walk_is_placed_as_if_it_were_drawn_there(side: int, steps: int) -> None:
    period = 2 * side
    random = np.random.SFC64(np.random.SeedSequence([7, side]))
    groups = -(-steps // _REACH)
    words = random.random_raw(-(-groups // 2)).astype("<u8").view(np.uint8)[: 4 * groups].reshape(4, groups)
    moves = [MOVES[word >> 2 * k & 3] for word in words.T.flatten().tolist() for k in range(4)][:steps]
    for x, y in ((0, 0), (period - 1, 1), (side, side // 2)):
        visited = (np.cumsum(moves, axis=0) + np.array([x, y])) % period
        folded = np.minimum(visited, period - 1 - visited)
        expected = np.zeros((side, side), np.uint8)
        expected[folded[:, 1], folded[:, 0]] = 1
        for size in ((side, side), (5, 9), (2 * side, side)):
            resized = cv2.resize(expected, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            assert np.array_equal(_place(_periodic_track(side, steps, 7), x, y, size), resized)


def test_masks_of_kept_walks_have_the_distribution_of_new_ones() -> None:
    n, rng = 1500, torch.Generator().manual_seed(0)
    found = []
    for source in (RandomWalk(canvas=16), RandomWalk(canvas=16, tracks=500)):
        masks = np.stack([source.sample_uint8((16, 16), rng) for _ in range(n)])
        found.append((masks.mean(axis=(1, 2)), masks.mean(axis=0)))
    (ratios, visits), (ratios_of_kept, visits_of_kept) = found
    assert ratios_of_kept.mean() == pytest.approx(ratios.mean(), abs=5 * ratios.std() * (1 / n + 1 / 500) ** 0.5)
    assert ratios_of_kept.std() == pytest.approx(ratios.std(), rel=0.15)
    assert np.abs(visits - visits_of_kept).max() < 5 * (visits.mean() * (1 - visits.mean()) * (1 / n + 1 / 500)) ** 0.5


def test_random_bits_are_fair_and_of_the_given_number() -> None:
    bits = random_bits(random.Random(0), 100_001)
    assert bits.shape == (100_001,)
    assert set(bits.tolist()) == {0, 1}
    assert bits.mean() == pytest.approx(0.5, abs=4 * 0.5 / 100_001**0.5)
    columns = bits[: 64 * 1500].reshape(-1, 64).mean(axis=0)
    assert np.abs(columns - 0.5).max() < 5 * 0.5 / 1500**0.5
