"""Which samples a process sees, and in which order: one endless training stream, and evaluation without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch.utils.data.distributed import DistributedSampler

from lit_inpaint.data.rng import RngStream, generator

Key = tuple[int, int]
"""A training sample: (image index, position in the stream)."""

T = TypeVar("T", covariant=True)


class Sharded(DistributedSampler[T]):
    """A sampler that knows its rank.

    Under several processes Lightning wraps every sampler into its own padded, sharded one, which would shard ours twice, unless
    it is a `DistributedSampler`. Only that name is inherited: torch's shuffling and padding are not used.

    Args:
        count: images or samples to draw from, at least 1.
        rank: this process, in [0, world).
        world: number of processes.
    """

    def __init__(self, count: int, rank: int, world: int) -> None:
        if count < 1 or not 0 <= rank < world:
            raise ValueError(f"nothing to sample: count {count}, rank {rank} of {world}")
        self.count = count
        self.rank = rank
        self.world = world


class InfiniteSampler(Sharded[Key]):
    """Training order as one endless stream, of which every batch is a numbered window.

    Turn t = 0, 1, 2, … of the stream is image `perm_e[t % n]`, where n is the number of images, e = t // n, and perm_e a
    permutation drawn from (seed, e). Sample j belongs to turn j // `in_a_row`. With B samples per process and W processes,
    batch k holds positions k*B*W … (k + 1)*B*W - 1, of which rank r takes the B from k*B*W + r*B. Hence nothing is dropped, a
    set smaller than a batch works, and W processes see together what one process with B*W samples per batch sees.

    The sampler remembers nothing. It starts at the batch that `position` names when an iterator is made, so a resumed run
    goes on at the right sample, also in the middle of an epoch, as long as B*W is the same.

    Args:
        count: number of images n.
        batch_size: samples per batch and process, B.
        rank: this process, in [0, W).
        world: number of processes, W.
        seed: draws the permutations.
        position: number of batches trained so far, such as the trainer's `global_step`.
        repeat: passes over the images that are called one epoch.
        in_a_row: samples that an image gives before the next one's turn.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        rank: int,
        world: int,
        seed: int,
        position: Callable[[], int],
        repeat: int = 1,
        in_a_row: int = 1,
    ) -> None:
        super().__init__(count, rank, world)
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self.repeat = repeat
        self.in_a_row = in_a_row

    def __iter__(self) -> Iterator[Key]:
        """Keys for ever, B per batch; the caller groups them."""
        batch, epoch, order = self.position(), -1, torch.empty(0)
        while True:
            first = (batch * self.world + self.rank) * self.batch_size
            for j in range(first, first + self.batch_size):
                turn = j // self.in_a_row
                if turn // self.count != epoch:
                    epoch = turn // self.count
                    order = torch.randperm(self.count, generator=generator(self.seed, RngStream.ORDER, epoch))
                yield int(order[turn % self.count]), j
            batch += 1

    def __len__(self) -> int:
        """Samples this process sees in what Lightning calls an epoch: whole batches, at least one."""
        batches = self.count * self.in_a_row * self.repeat // (self.batch_size * self.world)
        return max(1, batches) * self.batch_size


class EvalSampler(Sharded[int]):
    """Samples r, r + W, r + 2W, … of rank r: each sample once over all ranks, in order, none repeated to fill up.

    Ranks may differ by one sample, so nothing inside an evaluation step may wait for the other ranks.

    Args:
        count: number of samples.
        rank: this process, in [0, W).
        world: number of processes, W.
    """

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.count, self.world))

    def __len__(self) -> int:
        return len(range(self.rank, self.count, self.world))
