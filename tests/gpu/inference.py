"""Measurements without training: machine, loader, evaluation, latency."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from training import build, images_of, paper_names, synchronize

from lit_inpaint.data import Folder
from lit_inpaint.engine.tf32 import set_tf32
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.metrics import FID, LPI
from lit_inpaint.metrics.inception_features import InceptionFeatures
from lit_inpaint.profiling.latency import DevicePrecision, benchmark_forward

if TYPE_CHECKING:
    from measure import Setup

Found = dict[str, Any]
PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "scipy",
    "scikit-image",
    "kornia",
)


def environment(setup: Setup) -> Found:
    """Describe the machine and measure its ceilings: matrix products and copies."""
    found: Found = {"python": platform.python_version(), "cores": os.cpu_count(), "workers": setup.workers}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    if setup.device == "cpu":
        return found
    found |= {
        "gpu": torch.cuda.get_device_name(),
        "capability": torch.cuda.get_device_capability(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }
    set_tf32(False)
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
        torch.mm(a, a)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(3):
            torch.mm(a, a)
        torch.cuda.synchronize()
        found[f"matmul_tflops_{str(dtype).rpartition('.')[2]}"] = 3 * 2 * 8192**3 / (time.perf_counter() - start) / 1e12
    return found


def loader(size: int, count: int) -> Callable[[Setup], Found]:
    """Measure the images per second that the loader delivers to the device, without training."""

    def measure(setup: Setup) -> Found:
        batch = 2 if setup.quick else count
        data = Folder(str(images_of(setup)), size, batch, workers=setup.workers)
        data.trainer = FakeTrainer()  # with a trainer, batches stay bytes up to the device
        data.setup("fit")
        batches = iter(data.train_dataloader())
        to_device = {"non_blocking": True, "device": setup.device}
        with setup.lock.held():
            for loaded in islice(batches, 2 * setup.workers):
                loaded["image"].to(**to_device)
            images, start, limit = 0, time.perf_counter(), 0.2 if setup.quick else 3.0
            pinned = False
            while time.perf_counter() - start < limit:
                loaded = next(batches)
                moved = {**loaded, "image": loaded["image"].to(**to_device), "mask": loaded["mask"].to(**to_device)}
                data.on_after_batch_transfer(moved, 0)
                pinned = loaded["image"].is_pinned() if setup.device == "cuda" else False
                images += batch
            synchronize(torch.device(setup.device))
            seconds = time.perf_counter() - start
        return {"images_per_second": images / seconds, "workers": setup.workers, "size": size, "batch": batch, "pinned": pinned}

    return measure


class FakeTrainer:
    """The attributes of a trainer that the data module reads."""

    global_step = 0
    global_rank = 0
    world_size = 1
    num_devices = 1
    precision = "32-true"
    lightning_module = None


def evaluation(setup: Setup) -> Found:
    """Measure an evaluation at 256x256 with and without FID, and FID's network alone, with random weights."""
    size, batch, device = (64, 4, torch.device("cpu")) if setup.quick else (256, 32, torch.device(setup.device))
    root = setup.scratch / "evaluated"
    for split, count in (("train", 1), ("val", 256)):
        (root / split).mkdir(parents=True)
        for file in sorted((images_of(setup) / "train").glob("*_0.jpg"))[:count]:
            os.link(file, root / split / file.name)
    data = Folder(str(root), size, batch, workers=setup.workers)
    data.setup("validate")
    model = build("LPINet", size).eval().to(device)
    found: Found = {"samples": len(data.val_dataloader().dataset)}
    for label in ("scores", "scores and fid"):
        features = InceptionFeatures("random")
        metrics = (lambda features=features: (FID(features),)) if "fid" in label else None
        if metrics is not None:
            features.require_weights()
        for _ in range(1 if setup.quick else 2):  # the second time without start-up costs
            features._targets.clear()
            with setup.lock.held():
                start = time.perf_counter()
                result = evaluate({"LPINet": model.complete}, data.val_dataloader(), LPI, device, metrics)
                synchronize(device)
                found[label] = {"images_per_second": found["samples"] / (time.perf_counter() - start)}
        found[label]["rows"] = len(result.rows())
        setup.report(found)
    if setup.quick:
        return found
    features, images = InceptionFeatures("random"), torch.rand(256, 3, size, size, device=device)
    with setup.lock.held():
        features._forward(images.mul(255).byte())
        synchronize(device)
        start = time.perf_counter()
        for _ in range(3):
            features._forward(images.mul(255).byte())
        synchronize(device)
        found["inception"] = {"images_per_second": 3 * 256 / (time.perf_counter() - start)}
    return found


def latencies() -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement of each paper's generator."""
    for name in paper_names():
        yield name, lambda setup, name=name: latency(setup, name)


def latency(setup: Setup, name: str) -> Found:
    """Measure milliseconds of one image, and images per second of a batch, at 256x256 and 512x512."""
    set_tf32(False)
    found: Found = {}
    device = torch.device(setup.device)
    for size in (64,) if setup.quick else (256, 512):
        model = build(name, size)
        model.configure_model()
        batches = [1] if setup.quick else [1, 32 if size == 256 else 8]
        for precision in ("float32",) if setup.quick else ("float32", "bf16"):
            kind = DevicePrecision(device, precision)
            try:
                with setup.lock.held():
                    (forward,) = benchmark_forward([model], size, batches, 1 if setup.quick else 8, 0.12, kind)
            except (RuntimeError, ValueError) as error:
                found[f"{size} {precision}"] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
                continue
            found[f"{size} {precision}"] = {
                "ms_1": 1e3 * forward.timings[1].seconds if 1 in forward.timings else None,
                "peak_mib": forward.peak / 2**20,
                **{f"images_per_second_{b}": b / t.seconds for b, t in forward.timings.items() if b > 1},
            }
    return found
