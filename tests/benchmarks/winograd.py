"""Time Winograd's 3x3 convolution and PyTorch's, forward and both gradients, on the shapes of the papers' networks.

    python tests/benchmarks/winograd.py [--rounds 3]

One thread, float32, channels-last, processor time; prints median milliseconds and whether networks use Winograd's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.nets.cpu import winograd

SHAPES = [  # channels in and out, side, dilation
    (256, 256, 64, 1),
    (256, 256, 64, 16),
    (96, 192, 64, 1),
    (96, 192, 64, 8),
    (96, 96, 128, 1),
    (128, 128, 128, 1),
    (128, 512, 32, 1),
    (384, 128, 32, 1),
    (64, 64, 128, 1),
    (512, 512, 16, 1),
]


def milliseconds(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        start = time.process_time()
        function()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times[1:])  # the first is a warm-up


def time_shape(c_in: int, c_out: int, side: int, dilation: int, rounds: int) -> None:
    x = torch.randn(2, c_in, side, side).to(memory_format=torch.channels_last).requires_grad_()
    weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3).to(memory_format=torch.channels_last))

    def plain() -> Tensor:
        return conv2d(x, weight, padding=dilation, dilation=dilation)

    def ours() -> Tensor:
        return winograd.convolve(x, weight, None, dilation, dilation)

    times = []
    for convolve in (plain, ours):
        with torch.inference_mode():
            forward = milliseconds(convolve, rounds)
        output = convolve()
        seed = torch.randn_like(output)
        backward = milliseconds(partial(torch.autograd.grad, output, (x, weight), seed, retain_graph=True), rounds)
        times += [forward, backward]
    used = "used" if winograd.is_faster(x, weight, dilation, dilation) else "not used"
    print(
        f"{c_in:4} to {c_out:4} channels, {side:3}x{side:<3} dilation {dilation:2}: "
        f"forward {times[0]:6.1f} and {times[2]:6.1f}, gradients {times[1]:6.1f} and {times[3]:6.1f}   {used}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds: int = parser.parse_args().rounds
    tune_malloc()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for shape in SHAPES:
        time_shape(*shape, rounds)


if __name__ == "__main__":
    main()
