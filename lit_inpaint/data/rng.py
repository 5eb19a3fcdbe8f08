"""Randomness as a pure function: a sample's draws follow from (seed, stream, number) and from nothing else.

No dataset, sampler or mask holds a generator. Whoever needs draws names what they are for, and gets a fresh generator that
is the same on every rank, worker, epoch and machine.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class RngStream(IntEnum):
    """What the draws are for. Streams are independent: another view changes no mask, no training mask is a validation mask."""

    ORDER = 0
    TRAIN_TRANSFORM = 1
    TRAIN_MASK = 2
    EVAL_TRANSFORM = 3
    EVAL_MASK = 4
    SUBSET = 5
    SPLIT = 6


def generator(*key: int) -> torch.Generator:
    """A CPU generator that depends on every integer of the key and on their order.

    The key is spelt in a fixed number of words before `numpy.random.SeedSequence` mixes it, since that class drops trailing
    zeros and cuts large integers into words: by itself it takes (1, 2), (1, 2, 0) and (1 + 2 * 2**32) for the same key.
    torch keeps 32 bits of the result, so among n samples about n² / 2³³ pairs share their draws, which harms nobody.

    Args:
        key: integers in [0, 2**64), such as (seed, stream, sample number).

    Raises:
        ValueError: an integer lies outside that range.
    """
    if not all(0 <= part < 2**64 for part in key):
        raise ValueError(f"seeds and sample numbers lie in [0, 2**64), got {key}")
    words = np.array([len(key), *(word for part in key for word in (part & 0xFFFFFFFF, part >> 32))], np.uint32)
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
