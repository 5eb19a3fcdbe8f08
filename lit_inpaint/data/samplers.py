"""Samplers: an infinite training stream that resumes at any batch, and evaluation without padding, both sharded by rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch.utils.data.distributed import DistributedSampler

from lit_inpaint.data.rng import RngStream, generator

TrainKey = tuple[int, int]
"""A training sample: (image index, position in the stream)."""

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

    def __iter__(self) -> Iterator[TrainKey]:
        """Yield keys without end, B per batch; the `DataLoader` groups them."""
        batch, epoch, order = self.start_batch(), -1, torch.empty(0)
        while True:
            first = (batch * self.world_size + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                visit = position // self.samples_per_image
                if visit // self.count != epoch:
                    epoch = visit // self.count
                    order = torch.randperm(self.count, generator=generator(self.seed, RngStream.ORDER, epoch))
                yield int(order[visit % self.count]), position
            batch += 1

    def __len__(self) -> int:
        """Number of samples of this process in an epoch of Lightning's: whole batches, at least one."""
        batches = self.count * self.samples_per_image * self.repeat // (self.batch_size * self.world_size)
        return max(1, batches) * self.batch_size


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
