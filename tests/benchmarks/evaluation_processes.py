"""Measure how an evaluation scales over processes that share its samples, as `torchrun … -m lit_inpaint.evaluate` does.

    OMP_NUM_THREADS=1 python tests/benchmarks/evaluation_processes.py [--images 32] [--size 256] [--rounds 3] [--processes 2]

Evaluates LPI-Net on noise under the protocol lpi: reading, forward passes, scores, the exchange of scores and the table's
intervals. Processor time, which does not depend on what else the machine does; waiting costs none. The scaling per core is the
time of one process over the sum of the times of all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection

import torch
from torch import distributed
from torch.utils.data import DataLoader

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.evaluation.shards import Shard
from lit_inpaint.masks import FreeForm, MaskRatio
from lit_inpaint.metrics import LPI
from lit_inpaint.papers import LPINet


def work(pipe: Connection, rank: int, world: int, images: int, size: int, folder: str) -> None:
    """Evaluate in this process and send the seconds of processor time."""
    torch.set_num_threads(1)
    tune_malloc()
    if world > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    torch.manual_seed(0)
    complete, source, rng = LPINet().eval().complete, MaskRatio(FreeForm(), 0.1, 0.5), torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (images, 3, size, size), dtype=torch.uint8, generator=rng)
    masks = [source((size, size), rng).byte() for _ in range(images)]
    samples = [{"image": pictures[i], "mask": masks[i], "name": f"{i}.png"} for i in range(images)]
    shard = Shard(rank, world)
    complete(pictures[:4], torch.stack(masks[:4]))
    start = time.process_time()
    result = evaluate({"LPINet": complete}, DataLoader(samples, 4), LPI, torch.device("cpu"), shard=shard)
    if shard.is_first:
        result.rows()
    pipe.send(time.process_time() - start)
    if world > 1:
        distributed.barrier()
        distributed.destroy_process_group()


def seconds(world: int, images: int, size: int) -> list[float]:
    """Return the processor time of each of `world` processes."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for rank in range(world):
            ours, other = context.Pipe()
            processes.append(context.Process(target=work, args=(other, rank, world, images, size, folder)))
            processes[-1].start()
            other.close()
            pipes.append(ours)
        found = [pipe.recv() for pipe in pipes]
        for process in processes:
            process.join()
    return found


def main(argv: list[str]) -> None:
    """Print the scaling."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    ratios = []
    for _ in range(options.rounds):
        (one,), several = (seconds(world, options.images, options.size) for world in (1, options.processes))
        ratios.append(one / sum(several))
        print(f"one process {one:.2f} s, {options.processes} processes {' + '.join(f'{spent:.2f}' for spent in several)} s")
    listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"scaling per core: {statistics.median(ratios):.2f} ({listed}); {options.images} images of {options.size} pixels")


if __name__ == "__main__":
    main(sys.argv[1:])
