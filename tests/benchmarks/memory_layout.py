"""Measure the speed-up of LPI-Net's training steps by channels-last weights and by keeping freed memory.

    python tests/benchmarks/memory_layout.py [--rounds 3] [--steps 15] [--batch 16] [--size 64]

Each setting runs in a process of its own, since the allocator's settings cannot be undone. The four run interleaved, once per
round.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.papers import LPINet
from lit_inpaint.settings import Training

SETTINGS = {"nchw": (False, False), "channels-last": (True, False), "kept memory": (False, True), "both": (True, True)}


def step_times(channels_last: bool, keep: bool, steps: int, batch: int, size: int) -> list[float]:
    """Return the seconds of each adversarial step after a warm-up."""
    if keep:
        tune_malloc()
    torch.manual_seed(0)
    model = LPINet(training=Training(channels_last=channels_last))
    model.configure_model()
    optimizers = model.configure_optimizers()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    images = torch.rand(batch, 3, size, size, device=device)
    masks = (torch.rand(batch, 1, size, size, device=device) > 0.7).float()
    data = {"image": images, "mask": masks, "name": ["noise"] * batch}
    times = []
    for _ in range(steps + 3):
        start = time.perf_counter()
        prediction = model(images, masks)
        terms = [*model.generator_losses(data, prediction).values()]
        terms += model.discriminator_losses(data, prediction.detach()).values()
        for optimizer in optimizers:
            optimizer.zero_grad()
        sum(terms).backward()
        for optimizer in optimizers:
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times[3:]


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("--rounds", 3), ("--steps", 15), ("--batch", 16), ("--size", 64)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--one", choices=SETTINGS, help="measure one setting and print its seconds")
    options = parser.parse_args()
    if options.one:
        print(*step_times(*SETTINGS[options.one], options.steps, options.batch, options.size))
        return
    times: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(options.rounds):
        for name in SETTINGS:
            command = [sys.executable, __file__, "--one", name]
            for key in ("steps", "batch", "size"):
                command += [f"--{key}", str(getattr(options, key))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            times[name] += map(float, done.stdout.split())
    reference = statistics.median(times["nchw"])
    print(f"LPINet, batch {options.batch}, {options.size} px, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, steps in times.items():
        median = statistics.median(steps)
        print(
            f"{name:14} median {median * 1e3:7.1f} ms a step (n = {len(steps)}), "
            f"{reference / median:.2f} times the speed of nchw"
        )


if __name__ == "__main__":
    main()
