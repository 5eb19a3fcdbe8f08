"""Time LPI-Net's generator (16 images of 64x64, forward and backward) with PyTorch's tanh and with that of `nets/cpu/tanh.py`.

    python tests/benchmarks/tanh.py [--rounds 5]

One thread, processor time, both interleaved; prints medians in milliseconds.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn.functional import l1_loss

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.nets.cpu.tanh import CPUTanh
from lit_inpaint.papers import LPINet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    tune_malloc()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LPINet()
    model.configure_model()
    image, mask = torch.rand(16, 3, 64, 64), (torch.rand(16, 1, 64, 64) > 0.7).float()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Tanh)]
    times: dict[str, list[float]] = {}
    for round_number in range(rounds + 1):
        for form in (nn.Tanh, CPUTanh):
            for layer in layers:
                layer.__class__ = form
            model.zero_grad()
            start = time.process_time()
            torch.autograd.backward(l1_loss(model(image, mask).image, image))
            if round_number:  # the first is a warm-up
                times.setdefault(form.__name__, []).append(1e3 * (time.process_time() - start))
    for name, values in times.items():
        print(f"{name:8} {statistics.median(values):6.0f} ms ({min(values):.0f}-{max(values):.0f}), n = {rounds}")


if __name__ == "__main__":
    main()
