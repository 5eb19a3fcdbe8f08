"""Compare DeepFill's attention layer with the public port's, which extracts patches and loops over the samples of a batch.

    python tests/benchmarks/contextual_attention.py --deepfill DIR [--rounds 5] [--batch 8] [--size 256] [--threads 1]

DIR is a clone of https://github.com/nipponjo/deepfillv2-pytorch, of which the script reads commit 4899fd3. The features have
96 channels and a quarter of the image's side. Both implementations run interleaved, forward, and forward and backward; the
output says how much they differ.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from public_code import module_of
from torch import Tensor

from lit_inpaint.nets.contextual_attention import patch_attention, subsample_nearest


def seconds(run: Callable[[Tensor], Tensor], features: Tensor, backward: bool) -> float:
    start = time.process_time()
    output = run(features)
    if backward:
        output.square().sum().backward()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepfill", type=Path, required=True, metavar="DIR", help="clone of the public repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    public = module_of(options.deepfill, "4899fd38a9eb4008b1dc0edad7a0c4169521f618", "model/networks.py")
    layer = public.ContextualAttention(ksize=3, stride=1, rate=2, fuse_k=3, softmax_scale=10.0, fuse=True)
    mask = torch.zeros(options.batch, 1, options.size, options.size)
    mask[..., options.size // 4 : -(options.size // 4), options.size // 4 : -(options.size // 4)] = 1
    hole = subsample_nearest(mask, 8, align_corners=False)
    features = torch.randn(options.batch, 96, options.size // 4, options.size // 4) / 4
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        "public": lambda x: layer(x, x, mask)[0],
        "lit_inpaint": lambda x: patch_attention(x, hole, align_corners=False),
    }
    for backward in (False, True):
        times: dict[str, list[float]] = {name: [] for name in runs}
        with torch.set_grad_enabled(backward):
            for _ in range(options.rounds + 1):
                for name, run in runs.items():
                    times[name].append(seconds(run, features.clone().requires_grad_(backward), backward))
        ratios = [a / b for a, b in zip(times["public"][1:], times["lit_inpaint"][1:], strict=True)]  # the first is a warm-up
        medians = ", ".join(f"{name} {statistics.median(values[1:]):.3f} s" for name, values in times.items())
        what = "forward and backward" if backward else "forward"
        print(f"{what}: {medians}, ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}), n = {len(ratios)}")
    with torch.no_grad():
        first, second = (run(features) for run in runs.values())
    print(f"largest difference {float((first - second).abs().max()):.1e} of outputs up to {float(first.abs().max()):.2f}")


if __name__ == "__main__":
    main()
