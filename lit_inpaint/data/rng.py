"""Stateless random generators: the draws of a sample depend on (seed, stream, number) alone.

No dataset, sampler or mask source holds a generator. Each caller names its stream and gets a fresh generator, the same on every
rank, worker, epoch and machine.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch

MAX_SEED = 2**64 - 1
"""Largest seed."""


class RngStream(IntEnum):
    """Purpose of a draw.

    Streams are independent: another transform changes no mask, and no training mask is a validation mask. The values are part
    of every sample's seed: a changed value changes the samples of all runs.
    """

    ORDER = 0
    TRAIN_TRANSFORM = 1
    TRAIN_MASK = 2
    EVAL_TRANSFORM = 3
    EVAL_MASK = 4
    SUBSET = 5
    SPLIT = 6


def generator(*key: int) -> torch.Generator:
    """Return a CPU generator seeded by every integer of the key and by their order.

    `numpy.random.SeedSequence` drops trailing zeros and cuts large integers into 32-bit words: by itself it takes (1, 2),
    (1, 2, 0) and (1 + 2 * 2**32) for the same key. So the key is first written as its length and two words per integer.
    torch keeps 32 bits of the result: among n samples, about n² / 2³³ pairs share their draws, which does no harm.

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
