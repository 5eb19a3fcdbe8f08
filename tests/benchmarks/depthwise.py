"""Time the depthwise layers of separable PEPSI: PyTorch's layer, lit_inpaint's, and a hand-written weight gradient.

    python tests/benchmarks/depthwise.py [--batch 2] [--rounds 5] [--dtype float32|bfloat16]

Runs the implementations interleaved in one process and prints median milliseconds of forward and backward. bfloat16 is autocast
over float32 weights, as in training.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers

LAYERS = {  # channels, side, kernel, stride, dilation; without padding
    "encoder 1": (6, 260, 5, 1, 1),
    "encoder 2": (32, 258, 3, 2, 1),
    "encoder 3": (64, 130, 3, 1, 1),
    "encoder 6": (128, 66, 3, 2, 1),
    "dilation 2": (256, 36, 3, 1, 2),
    "dilation 8": (256, 48, 3, 1, 8),
    "dilation 16": (256, 64, 3, 1, 16),
    "decoder 2": (128, 34, 3, 1, 1),
    "decoder 7": (16, 258, 3, 1, 1),
    "RED 2": (64, 131, 5, 2, 1),
    "RED 5": (256, 19, 5, 2, 1),
}


class ElementwiseGradient(torch.autograd.Function):
    """Compute the weight gradient as one sum of products for each element of the kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation = stride, dilation
        return nn.functional.conv2d(x, weight, None, stride, 0, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight), step = gradients, ctx.saved_tensors, ctx.stride
        height, width = gradient.shape[2:]
        elements = [
            (x[:, :, i : i + (height - 1) * step + 1 : step, j : j + (width - 1) * step + 1 : step] * gradient).sum((0, 2, 3))
            for i in range(0, weight.shape[2] * ctx.dilation, ctx.dilation)
            for j in range(0, weight.shape[3] * ctx.dilation, ctx.dilation)
        ]
        to_input = nn.grad.conv2d_input(x.shape, weight.to(x.dtype), gradient, step, 0, ctx.dilation, len(weight))
        return to_input, torch.stack(elements, 1).view_as(weight).to(weight.dtype), None, None


def implementations(channels: int, kernel: int, stride: int, dilation: int) -> dict[str, Callable[[Tensor], Tensor]]:
    plain = nn.Conv2d(channels, channels, kernel, stride, 0, dilation, groups=channels)
    ours = nn.Conv2d(channels, channels, kernel, stride, 0, dilation, groups=channels)
    use_fast_cpu_layers(ours)

    def elementwise(x: Tensor) -> Tensor:
        low = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        y: Tensor = ElementwiseGradient.apply(x.to(low), plain.weight.to(low), stride, dilation)
        return y

    return {"nn.Conv2d": plain, "lit_inpaint": ours, "elementwise": elementwise}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"batch {options.batch}, {options.dtype}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for shape_name, (channels, side, kernel, stride, dilation) in LAYERS.items():
        x = torch.randn(options.batch, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()
        times: dict[str, list[float]] = {}
        for round_number in range(options.rounds + 1):
            for name, layer in implementations(channels, kernel, stride, dilation).items():
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=options.dtype == "bfloat16"):
                    y = layer(x)
                y.backward(y.detach())
                if round_number:  # the first is a warm-up
                    times.setdefault(name, []).append(time.perf_counter() - start)
        medians = "  ".join(f"{name} {statistics.median(values) * 1e3:7.1f}" for name, values in times.items())
        print(f"{shape_name:12} {channels:4} ch {side:4} px  k {kernel} s {stride} d {dilation:2}   {medians}", flush=True)


if __name__ == "__main__":
    main()
