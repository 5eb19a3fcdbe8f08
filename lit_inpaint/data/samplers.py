"""Samplers: an infinite training stream that resumes at any batch, and evaluation without padding, both sharded by rank."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch.utils.data.distributed import DistributedSampler

from lit_inpaint.data.rng import RngStream, generator

TrainKey = tuple[int, int]
"""A training sample: (image index, position in the stream)."""

MixKey = tuple[int, list[TrainKey]]
"""A training batch of a mix: (part, keys of its samples)."""

T = TypeVar("T", covariant=True)


class ShardedSampler(DistributedSampler[T]):
    """Base of samplers that shard by rank themselves.

    With several processes, Lightning replaces every sampler by its own padded and sharded one, unless it is a
    `DistributedSampler`. Only that type is inherited: torch's shuffling and padding are not used.

    Args:
        count: number of images or samples, at least 1.
        rank: rank of this process, in [0, world_size).
        world_size: number of processes.
    """

    def __init__(self, count: int, rank: int, world_size: int) -> None:
        if count < 1 or not 0 <= rank < world_size:
            raise ValueError(f"nothing to sample: count {count}, rank {rank} of {world_size}")
        self.count = count
        self.rank = rank
        self.world_size = world_size


class InfiniteSampler(ShardedSampler[TrainKey]):
    """The training order as an infinite stream, of which batch k is a fixed window.

    Let n be the number of images. The stream visits images: visit t = 0, 1, 2, … is image `perm_e[t % n]`, where e = t // n and
    `perm_e` is a permutation drawn from (seed, e). Position j of the stream belongs to visit j // `samples_per_image`. With B
    samples per process and W processes, batch k has positions k*B*W … (k + 1)*B*W - 1, and rank r takes B of them from
    k*B*W + r*B on. So nothing is dropped, a set smaller than a batch works, and W processes see the same samples as one process
    with batches of B*W.

    The sampler has no state. Each iterator starts at the batch that `start_batch` returns, so a resumed run continues at the
    right sample, also within an epoch, as long as B*W is the same.

    Args:
        count: number of images n.
        batch_size: samples per batch and process, B.
        rank: rank of this process, in [0, W).
        world_size: number of processes, W.
        seed: seed of the permutations.
        start_batch: returns the number of batches trained so far, such as the trainer's `global_step`.
        repeat: passes over the images that count as one epoch.
        samples_per_image: consecutive samples of each visited image.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        rank: int,
        world_size: int,
        seed: int,
        start_batch: Callable[[], int],
        repeat: int = 1,
        samples_per_image: int = 1,
    ) -> None:
        super().__init__(count, rank, world_size)
        self.batch_size = batch_size
        self.seed = seed
        self.start_batch = start_batch
        self.repeat = repeat
        self.samples_per_image = samples_per_image
        self._epoch, self._order = -1, torch.empty(0)  # the permutation in use

    def __iter__(self) -> Iterator[TrainKey]:
        """Yield keys without end, B per batch; the `DataLoader` groups them."""
        for batch in itertools.count(self.start_batch()):
            yield from self.batch_keys(batch)

    def batch_keys(self, batch: int) -> list[TrainKey]:
        """Return this process's keys of batch `batch`."""
        first, keys = (batch * self.world_size + self.rank) * self.batch_size, list[TrainKey]()
        for position in range(first, first + self.batch_size):
            epoch, index = divmod(position // self.samples_per_image, self.count)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = torch.randperm(self.count, generator=generator(self.seed, RngStream.ORDER, epoch))
            keys.append((int(self._order[index]), position))
        return keys

    def __len__(self) -> int:
        """Number of samples of this process in an epoch of Lightning's: whole batches, at least one."""
        batches = self.count * self.samples_per_image * self.repeat // (self.batch_size * self.world_size)
        return max(1, batches) * self.batch_size


class MixSampler(ShardedSampler[MixKey]):
    """The training order of several image sets as one infinite stream of batches; see `TrainMix`.

    In each cycle, every part has its number of consecutive batches. Batch k is so a fixed window of one part's own stream, and
    the sampler has no state, as `InfiniteSampler`.

    Args:
        parts: the sampler of each part; its own `start_batch` is not used.
        batches: number of batches of each part in a cycle.
        start_batch: returns the number of batches trained so far.
    """

    def __init__(self, parts: Sequence[InfiniteSampler], batches: Sequence[int], start_batch: Callable[[], int]) -> None:
        super().__init__(parts[0].count, parts[0].rank, parts[0].world_size)
        self.parts = parts
        self.start_batch = start_batch
        self._cycle = [(part, number) for part, count in enumerate(batches) for number in range(count)]
        self._batches = batches

    def __iter__(self) -> Iterator[MixKey]:
        """Yield (part, keys of one batch) without end."""
        for batch in itertools.count(self.start_batch()):
            cycle, place = divmod(batch, len(self._cycle))
            part, number = self._cycle[place]
            yield part, self.parts[part].batch_keys(cycle * self._batches[part] + number)

    def __len__(self) -> int:
        """Number of batches in an epoch of Lightning's: the cycles in which the first part is used once."""
        first = self.parts[0]
        return max(1, len(first) // first.batch_size // self._batches[0]) * len(self._cycle)


class EvalSampler(ShardedSampler[int]):
    """Samples r, r + W, r + 2W, … for rank r: over all ranks each sample once, in order, without padding.

    Ranks may have one sample more or less than others, so an evaluation step must not wait for other ranks.

    Args:
        count: number of samples.
        rank: rank of this process, in [0, W).
        world_size: number of processes, W.
    """

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.count, self.world_size))

    def __len__(self) -> int:
        return len(range(self.rank, self.count, self.world_size))
