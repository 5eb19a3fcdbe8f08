"""Time the metrics of an evaluation relative to its forward passes.

    python tests/benchmarks/evaluation.py [--size 256] [--batch 8] [--rounds 5] [--images 1000]

For each network, measures a forward pass (`complete`) and each protocol's scores of its output, interleaved in one process;
prints the median processor time per image. Then measures all of `evaluate` (from bytes to rows) relative to its forward
passes, and the confidence intervals and the paired comparison of two methods for --images images under four masks.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.masks import FreeForm, MaskRatio
from lit_inpaint.metrics import LPI, PROTOCOLS, EvaluationResult, score
from lit_inpaint.papers import PEPSI, LPINet, PConv, UNet, WaveMix

NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "LPINet": LPINet,
    "PEPSI": PEPSI,
    "PConv": lambda: PConv(vgg="random"),
    "WaveMix": WaveMix,
    "UNet": UNet,
}


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    tune_malloc()
    torch.manual_seed(0)
    source, rng = MaskRatio(FreeForm(), 0.1, 0.5), torch.Generator().manual_seed(0)
    side = (options.size, options.size)
    image = (torch.rand(options.batch, 3, *side) * 255).byte().float() / 255
    mask = torch.stack([source(side, rng) for _ in range(options.batch)]).float()
    print(f"{options.batch} images of {side[0]}x{side[1]}, {torch.get_num_threads()} thread(s), n = {options.rounds}")
    with torch.no_grad():
        for name, build in NETWORKS.items():
            time_forward_and_scores(name, build(), image, mask, options.rounds)
        time_evaluation(image, mask, options.rounds)
    time_intervals(options.images)


def time_forward_and_scores(name: str, model: torch.nn.Module, image: Tensor, mask: Tensor, rounds: int) -> None:
    """Print one line for a network."""
    complete = model.eval().complete
    completed = complete(image, mask)
    spent: dict[str, list[float]] = {"forward": [], **{protocol.name: [] for protocol in PROTOCOLS}}
    for _ in range(rounds):
        spent["forward"].append(seconds(lambda: complete(image, mask)))
        for protocol in PROTOCOLS:
            spent[protocol.name].append(seconds(lambda protocol=protocol: score(protocol, image, completed, mask)))
    median = {key: statistics.median(times) / len(image) for key, times in spent.items()}
    ratios = ", ".join(f"{key} {value / median['forward']:.3f}" for key, value in median.items() if key != "forward")
    print(f"{name:8} forward {1000 * median['forward']:7.1f} ms an image; scores relative to it: {ratios}")


def time_evaluation(image: Tensor, mask: Tensor, rounds: int) -> None:
    """Print the time of `evaluate` for LPI-Net relative to its forward passes over the same loader."""
    complete = LPINet().eval().complete
    samples = [
        {"image": one.mul(255).byte(), "mask": hole.byte(), "name": f"{number}.png"}
        for number, (one, hole) in enumerate(zip(image, mask, strict=True))
    ]
    loader = DataLoader(samples, len(samples) // 2)
    ratios = []
    for _ in range(rounds):
        forward = seconds(lambda: [complete(batch["image"].float() / 255, batch["mask"].float()) for batch in loader])
        whole = seconds(lambda: evaluate({"LPINet": complete}, loader, LPI, torch.device("cpu")))
        ratios.append(whole / forward)
    print(f"evaluate, protocol lpi, LPINet: {statistics.median(ratios):.3f} of its forward passes")


def time_intervals(images: int) -> None:
    """Print the seconds for the intervals and the paired comparison of two methods."""
    rng = torch.Generator().manual_seed(0)
    values = {name: torch.rand(4 * images, 3, generator=rng, dtype=torch.float64) for name in ("a", "b")}
    ratios = torch.arange(4 * images, dtype=torch.float64) % 4 / 10 + 0.15
    names = [f"{number // 4}.png" for number in range(4 * images)]
    scores = EvaluationResult(LPI, names, names, ratios, values)
    spent = seconds(scores.rows), seconds(lambda: scores.paired_comparisons(["a", "b"]))
    print(f"intervals of {images:,} images under 4 masks, two methods: {spent[0]:.1f} s; paired comparison: {spent[1]:.1f} s")


if __name__ == "__main__":
    main()
