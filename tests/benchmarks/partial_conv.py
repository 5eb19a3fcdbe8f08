"""Time a partial convolution relative to the plain convolution in it, at each level of PConv's network.

    python tests/benchmarks/partial_conv.py [--size 256] [--batch 2] [--rounds 15]

Runs both interleaved in one process, channels-last, with freed memory kept; prints medians of processor time. The input
features of a layer are those that its preceding layer computes, with zeros in the holes.
"""

import argparse
import statistics
import time

import torch

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.papers import PConv
from lit_inpaint.papers.pconv import Level


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    tune_malloc()
    torch.manual_seed(0)
    network = PConv(vgg="random").generator.to(memory_format=torch.channels_last).eval()
    use_fast_cpu_layers(network)
    inputs: list[tuple[str, Level, tuple[torch.Tensor, ...]]] = []
    levels = [(f"PConv{number}", level) for number, level in enumerate([*network.encoder, *network.decoder], start=1)]
    for name, level in levels:
        assert isinstance(level, Level)
        level.register_forward_pre_hook(lambda module, given, name=name: inputs.append((name, module, given)))
    image = torch.rand(options.batch, 3, options.size, options.size)
    known = torch.ones(options.batch, 1, options.size, options.size)
    known[..., options.size // 4 : -(options.size // 4), options.size // 4 : -(options.size // 4)] = 0
    with torch.no_grad():
        network(image * known, known)
        print(
            f"{options.batch} images of {options.size}x{options.size}, {torch.get_num_threads()} threads, n = {options.rounds}"
        )
        for name, level, given in inputs:
            emptied, channels, *below = given
            partial = level.partial
            x = emptied
            if below:  # in the decoder, both upsample and concatenate first
                doubled = torch.nn.functional.interpolate(below[0], scale_factor=2.0)
                x = torch.cat([doubled, emptied], dim=1).contiguous(memory_format=torch.channels_last)
            ratios = []
            for _ in range(options.rounds):
                start = time.process_time()
                partial.conv(x)
                middle = time.process_time()
                partial.convolve(x, channels)
                ratios.append((time.process_time() - middle) / (middle - start))
            shape = "x".join(str(side) for side in x.shape[1:])
            print(f"{name:8} {shape:>12}  {statistics.median(ratios):.2f} of the plain convolution")


if __name__ == "__main__":
    main()
