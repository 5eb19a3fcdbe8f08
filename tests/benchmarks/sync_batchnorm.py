"""Time batch norm over all processes on a CPU: forward and backward, relative to the plain layer.

    python tests/benchmarks/sync_batchnorm.py [--batch 16] [--rounds 9]

One process in a group of its own, so that the arithmetic is measured and not the network. Prints median milliseconds of
processor time, for maps as in the U-Net at 64x64, in channels-last.
"""

import argparse
import statistics
import tempfile
import time

import torch
from torch import nn

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm

MAPS = {(64, 64): "first level", (128, 32): "second level", (256, 16): "third level"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=0, world_size=1)
        print(f"batch {options.batch}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
        for (channels, side), name in MAPS.items():
            layers = {"plain": nn.BatchNorm2d(channels), "over all processes": nn.BatchNorm2d(channels)}
            SyncBatchNorm().apply(layers["over all processes"])
            x = torch.randn(options.batch, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
            gradient = torch.randn_like(x)
            times: dict[str, list[float]] = {label: [] for label in layers}
            for _ in range(options.rounds + 1):
                for label, layer in layers.items():
                    start = time.process_time()
                    layer(x).backward(gradient)
                    times[label].append(1e3 * (time.process_time() - start))
            medians = {label: statistics.median(values[1:]) for label, values in times.items()}
            ratio = medians["over all processes"] / medians["plain"]
            print(f"{name}: " + ", ".join(f"{label} {value:.1f} ms" for label, value in medians.items()) + f", {ratio:.2f}")
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
