"""Compare DeepFill's attention layer with the public port's, or measure the memory that an image needs.

    python tests/benchmarks/deepfill.py attention --deepfill DIR [--rounds 5] [--batch 8] [--size 256] [--threads 1]
    python tests/benchmarks/deepfill.py memory [--model v1] [--size 512] [--training]

The port extracts patches and loops over the samples of a batch. DIR is a clone of
https://github.com/nipponjo/deepfillv2-pytorch, of which the script reads commit 4899fd3. The features have 96 channels and a
quarter of the image's side. Both implementations run interleaved, forward, and forward and backward.

"memory" prints by how much one image of noise enlarges the peak of the resident set: of a forward pass, or with `--training` of
both players' losses with their backward passes. One measurement needs a process of its own.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from public_code import module_of
from torch import Tensor

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.nets.contextual_attention import patch_attention, subsample_nearest
from lit_inpaint.papers import DeepFillV1, DeepFillV2
from lit_inpaint.types import Batch, Terms


def central_hole(batch: int, size: int) -> Tensor:
    mask = torch.zeros(batch, 1, size, size)
    mask[..., size // 4 : -(size // 4), size // 4 : -(size // 4)] = 1
    return mask


def seconds(run: Callable[[Tensor], Tensor], features: Tensor, backward: bool) -> float:
    start = time.process_time()
    output = run(features)
    if backward:
        output.square().sum().backward()
    return time.process_time() - start


def compare_attention(clone: Path, rounds: int, batch: int, size: int) -> None:
    public = module_of(clone, "4899fd38a9eb4008b1dc0edad7a0c4169521f618", "model/networks.py")
    layer = public.ContextualAttention(ksize=3, stride=1, rate=2, fuse_k=3, softmax_scale=10.0, fuse=True)
    mask = central_hole(batch, size)
    hole = subsample_nearest(mask, 8, align_corners=False)
    features = torch.randn(batch, 96, size // 4, size // 4) / 4
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        "public": lambda x: layer(x, x, mask)[0],
        "lit_inpaint": lambda x: patch_attention(x, hole, align_corners=False),
    }
    for backward in (False, True):
        times: dict[str, list[float]] = {name: [] for name in runs}
        with torch.set_grad_enabled(backward):
            for _ in range(rounds + 1):
                for name, run in runs.items():
                    times[name].append(seconds(run, features.clone().requires_grad_(backward), backward))
        ratios = [a / b for a, b in zip(times["public"][1:], times["lit_inpaint"][1:], strict=True)]  # the first is a warm-up
        medians = ", ".join(f"{name} {statistics.median(values[1:]):.3f} s" for name, values in times.items())
        what = "forward and backward" if backward else "forward"
        print(
            f"{what}: {medians}, ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}), n = {len(ratios)}"
        )
    with torch.no_grad():
        first, second = (run(features) for run in runs.values())
    print(f"largest difference {float((first - second).abs().max()):.1e} of outputs up to {float(first.abs().max()):.2f}")


def measure_memory(name: str, size: int, training: bool) -> None:
    tune_malloc()
    model: Inpainter = DeepFillV2() if name == "v2" else DeepFillV1(size=size, local_size=size // 2)
    model.configure_model()
    batch = Batch(image=torch.rand(1, 3, size, size), mask=central_hole(1, size), name=["noise"])
    before = peak_mib()
    if training:
        prediction = model.training_forward(batch)
        add_up(model.discriminator_losses(batch, prediction.detach())).backward()
        add_up(model.generator_losses(batch, prediction)).backward()
    else:
        with torch.inference_mode():
            model.eval()(batch["image"], batch["mask"])
    what = "losses and backward of both players" if training else "inference"
    print(f"DeepFill {name}, {size}x{size}, {what}: {peak_mib() - before:,.0f} MiB")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def add_up(terms: Terms) -> Tensor:
    return torch.stack([term() if callable(term) else term for term in terms.values()]).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("attention", "memory"))
    parser.add_argument("--deepfill", type=Path, metavar="DIR", help="clone of the public repository")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--model", choices=("v1", "v2"), default="v1")
    parser.add_argument("--training", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.mode == "memory":
        measure_memory(options.model, options.size, options.training)
    elif options.deepfill is None:
        parser.error("attention needs --deepfill")
    else:
        compare_attention(options.deepfill, options.rounds, options.batch, options.size)


if __name__ == "__main__":
    main()
