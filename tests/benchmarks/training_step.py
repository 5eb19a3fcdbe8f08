"""Compare the training step of a paper between checkouts of this repository: losses and backward of both players.

    OMP_NUM_THREADS=1 python tests/benchmarks/training_step.py . DIR … [--paper LPINet] [--batch 16] [--size 64] [--rounds 7]

Each DIR is a checkout (`git worktree add DIR COMMIT`); the last one is the reference. Each runs in a process of its own, the
processes take turns, and each measures its own processor time. `ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` in front
gives what a processor without AVX-512 would compute with.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def serve(paper: str, batch_size: int, size: int) -> None:
    """Answer each line on standard input with the seconds of a step of the `lit_inpaint` on the path."""
    import torch

    from lit_inpaint import papers
    from lit_inpaint.config.entry_point import tune_malloc
    from lit_inpaint.engine.freezing import frozen

    tune_malloc()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = getattr(papers, paper)()
    model.configure_model()
    model.train()
    rng = torch.Generator().manual_seed(1)
    image = torch.rand(batch_size, 3, size, size, generator=rng)
    mask = (torch.rand(batch_size, 1, size, size, generator=rng) < 0.3).float()
    batch = {"image": image, "mask": mask, "name": [""] * batch_size}
    for _ in sys.stdin:
        begin = time.process_time()
        model.zero_grad()
        prediction = model.training_forward(batch)
        with frozen(model.discriminator):
            loss = sum(model.generator_losses(batch, prediction).values())
        if model.discriminator is not None:
            loss = loss + sum(model.discriminator_losses(batch, prediction.detach()).values())
        loss.backward()
        print(time.process_time() - begin, flush=True)


def main() -> None:
    """Print the median time of each checkout, and how many times as fast as the last one it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--paper", default="LPINet", help="one whose losses need no files")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.paper, options.batch, options.size)
        return
    command = [sys.executable, __file__, "--serve", "--paper", options.paper]
    command += ["--batch", str(options.batch), "--size", str(options.size)]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(tree.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for tree in options.trees
    ]
    times: list[list[float]] = [[] for _ in processes]
    for number in range(options.rounds + 1):
        for process, own in zip(processes, times, strict=True):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            seconds = float(process.stdout.readline())
            if number:  # the first is a warm-up
                own.append(seconds)
    for tree, own in zip(options.trees, times, strict=True):
        ratios = [reference / seconds for reference, seconds in zip(times[-1], own, strict=True)]
        print(
            f"{tree}: {statistics.median(own):.3f} s, {statistics.median(ratios):.2f} times as fast as {options.trees[-1]} "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )
    for process in processes:
        process.communicate()


if __name__ == "__main__":
    main()
