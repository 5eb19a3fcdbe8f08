"""`RandomWalk`: reflection at the borders, connected tracks, and fair random bits."""

import random

import cv2
import numpy as np
import pytest
import torch

from lit_inpaint.masks import RandomWalk, random_walk
from lit_inpaint.masks.base import random_bits
from lit_inpaint.masks.random_walk import _walk


@pytest.mark.parametrize("side", [1, 2, 5, 16])
def test_reflected_walk_equals_a_walk_that_stops_at_the_borders(side: int) -> None:
    """Compare with a plain loop, whose moves have the opposite sign on reflected intervals, which only the past decides."""
    rng = np.random.default_rng(side)
    moves = rng.integers(-1, 2, 3000).astype(np.int8)
    start = int(rng.integers(side))
    found, last = _walk(start, moves, side)
    position, unreflected, expected = start, start, []
    for move in moves.tolist():
        reflected = (unreflected // side) % 2 == 1
        position = min(max(position + (-move if reflected else move), 0), side - 1)
        unreflected += move
        expected.append(position)
    assert found.tolist() == expected
    assert last == unreflected % (2 * side)


def test_chunks_of_a_walk_join() -> None:
    moves = np.random.default_rng(0).integers(-1, 2, 1000).astype(np.int8)
    whole, _ = _walk(3, moves, 7)
    first, unreflected = _walk(3, moves[:400], 7)
    rest, _ = _walk(unreflected, moves[400:], 7)
    assert np.array_equal(whole, np.concatenate([first, rest]))


def test_track_is_connected_and_has_the_given_length() -> None:
    for seed in range(20):
        mask = RandomWalk(canvas=64, steps=200).sample_uint8((64, 64), torch.Generator().manual_seed(seed))
        assert cv2.connectedComponents(mask, connectivity=4)[0] == 2
        assert 15 < mask.sum() <= 200
    assert RandomWalk(canvas=64, steps=1).sample_uint8((64, 64), torch.Generator().manual_seed(0)).sum() == 1


def test_next_chunk_continues_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_walk, "_CHUNK", 5)
    for seed in range(10):
        mask = RandomWalk(canvas=256, steps=4000).sample_uint8((256, 256), torch.Generator().manual_seed(seed))
        assert cv2.connectedComponents(mask, connectivity=4)[0] == 2
        assert min(np.ptp(indices) for indices in np.nonzero(mask)) > 10  # restarted, chunks would reach 5 to either side


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


def test_random_bits_are_fair_and_of_the_given_number() -> None:
    bits = random_bits(random.Random(0), 100_001)
    assert bits.shape == (100_001,)
    assert set(bits.tolist()) == {0, 1}
    assert bits.mean() == pytest.approx(0.5, abs=4 * 0.5 / 100_001**0.5)
    columns = bits[: 64 * 1500].reshape(-1, 64).mean(axis=0)
    assert np.abs(columns - 0.5).max() < 5 * 0.5 / 1500**0.5
