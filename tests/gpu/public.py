"""Measure networks beside the public code that they follow: outputs, images per second, peak memory."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import public_code
from training import synchronize

from lit_inpaint.engine.tf32 import set_tf32

if TYPE_CHECKING:
    from measure import Setup

Found = dict[str, Any]


def comparisons() -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement for each network with public code."""
    for name in public_code.CASES:
        yield name, lambda setup, name=name: compare(setup, name)


def compare(setup: Setup, name: str) -> Found:
    """Compare a network with the public code in `setup.public / name`, both in float32 without TF32; ours also in bf16."""
    folder = None if setup.public is None else setup.public / name
    if folder is None or not folder.is_dir():
        return {"skipped": "no public code: --public DIR"}
    set_tf32(False)
    device = torch.device(setup.device)
    size = 128 if name == "context_encoder" or setup.quick else 256  # that network has one size
    batch = 2 if setup.quick else 16
    found: Found = {"size": size, "batch": batch}
    outputs = {}
    image = public_code.parity.image(size, batch=batch).to(device)
    mask = public_code.parity.mask(size, batch=batch).to(device)
    for label, precisions in {"public": ["float32"], "ours": ["float32", "bfloat16"]}.items():
        network, run = public_code.make(name, folder if label == "public" else None)
        network = network.to(device)
        for precision in precisions:
            for training in (False, True):
                network.train(training)
                step = make_step(network, run, image, mask, training, precision == "bfloat16")
                step()
                with setup.lock.held():
                    found[f"{label} {precision} {'training' if training else 'inference'}"] = measure(
                        step, batch, device, setup.quick
                    )
                if not training:
                    outputs[label, precision] = [output.cpu() for output in step()]
                setup.report(found)
        del network, step
        gc.collect()
        if setup.device == "cuda":
            torch.cuda.empty_cache()
    pairs = list(zip(outputs["public", "float32"], outputs["ours", "float32"], strict=True))
    found["difference"] = max(float((a - b).abs().max()) for a, b in pairs)
    return found


def make_step(network: Any, run: Any, image: Any, mask: Any, training: bool, low: bool) -> Callable[[], list[torch.Tensor]]:
    """Return one inference, or one forward and backward pass."""

    def step() -> list[torch.Tensor]:
        for parameter in network.parameters():
            parameter.grad = None
        with torch.set_grad_enabled(training), torch.autocast(image.device.type, torch.bfloat16, enabled=low):
            outputs: list[torch.Tensor] = run(network, image, mask)
        if training:
            torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
        return [output.detach().float() for output in outputs]

    return step


def measure(step: Callable[[], Any], batch: int, device: torch.device, quick: bool) -> dict[str, float | None]:
    """Return images per second and peak MiB."""
    on_gpu = device.type == "cuda"
    step()
    synchronize(device)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    start, count = time.perf_counter(), 0
    while count < 1 or (not quick and time.perf_counter() - start < 0.3):
        step()
        synchronize(device)
        count += 1
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    return {"images_per_second": batch * count / seconds, "peak_mib": peak}
