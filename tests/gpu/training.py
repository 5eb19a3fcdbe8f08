"""Measurements of training: every paper's step, host synchronizations, resuming, `fit`, DDP, compilation."""

from __future__ import annotations

import copy
import csv
import dataclasses
import math
import os
import shutil
import statistics
import tempfile
import threading
import time
import traceback
import typing
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from unittest import mock

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from lit_inpaint import fit, papers
from lit_inpaint.callbacks import GeneratorEMA, NaNGuard, TrainingLog
from lit_inpaint.engine.global_step import set_global_step
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.tf32 import set_tf32
from lit_inpaint.engine.training_stages import StageSchedule
from lit_inpaint.errors import UserError
from lit_inpaint.masks import FreeForm, MaskRatio
from lit_inpaint.profiling.latency import _quiet_lightning
from lit_inpaint.runs.build_trainer import RunTrainer
from lit_inpaint.runs.checkpoint_file import read_checkpoint
from lit_inpaint.types import Batch

if TYPE_CHECKING:
    from measure import Setup

Found = dict[str, Any]
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
PACKAGE = f"{os.sep}lit_inpaint{os.sep}"
EPOCH = 1000


# Papers ---------------------------------------------------------------------------------------------------------------------


def paper_names() -> list[str]:
    """Return the names of all papers."""
    return sorted(papers.__all__)


def build(name: str, size: int) -> Inpainter:
    """Build a paper for images of `size` pixels; loss networks get random weights, which need no file."""
    paper = getattr(papers, name)
    try:
        hints = typing.get_type_hints(paper.__init__)
    except NameError:  # a type that is imported for type checkers only
        hints = {"vgg": Literal["random"]} if "vgg" in paper.__init__.__annotations__ else {}
    arguments: dict[str, Any] = {parameter: "random" for parameter, hint in hints.items() if _allows_random(hint)}
    sides = {"size": size, "local_size": size // 2}
    arguments |= {parameter: side for parameter, side in sides.items() if parameter in paper.__init__.__annotations__}
    torch.manual_seed(0)
    return cast(Inpainter, paper(**arguments))


def _allows_random(hint: Any) -> bool:
    return "random" in typing.get_args(hint) or any(_allows_random(part) for part in typing.get_args(hint))


def make_batch(size: int, count: int, device: str, model: Inpainter | None = None) -> Batch:
    """Make smooth images with free-form holes, and the edges that `model` needs from its loader."""
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 8, 8, generator=rng)
    image = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    mask = torch.stack([MaskRatio(FreeForm(), 0.1, 0.5)((size, size), rng) for _ in range(count)]).float()
    batch: Batch = {"image": image.to(device), "mask": mask.to(device), "name": [str(number) for number in range(count)]}
    if model is not None and model.edge_detector is not None:
        batch["edges"] = model.edge_detector(image).to(device)
    return batch


class StepTimer(Callback):
    """Trains from batch number `begin`; times the batches after the first `warm`, until `steps` or `seconds` are reached."""

    def __init__(self, begin: int, warm: int, steps: int, seconds: float) -> None:
        self.begin, self.warm, self.steps, self.limit = begin, warm, steps, seconds
        self.done = 0
        self.timed = 0
        self.seconds = math.nan
        self.losses: dict[str, Tensor] = {}
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_global_step(trainer, self.begin)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.done == self.warm:
            synchronize(pl_module.device)
            self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done += 1
        self.losses = outputs
        timed = self.done - self.warm
        if timed > 0 and (timed == self.steps or timed % 5 == 0):
            synchronize(pl_module.device)
            self.timed, self.seconds = timed, time.perf_counter() - self._start
            trainer.should_stop = timed == self.steps or self.seconds > self.limit


def synchronize(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def train(
    model: Inpainter, batch: Batch, precision: str, timer: StepTimer, device: str, *extra: Callback, **arguments: Any
) -> None:
    """Train through Lightning and the engine with the callbacks of `fit` that act on each batch."""
    with _quiet_lightning():
        trainer = Trainer(
            accelerator=device,
            devices=1,
            precision=cast(Any, precision),
            max_steps=timer.begin + timer.warm + timer.steps,
            max_epochs=-1,
            logger=False,
            callbacks=[GeneratorEMA(), TrainingLog(), NaNGuard(Path(tempfile.gettempdir()) / "nan"), *extra, timer],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tempfile.gettempdir(),
            **arguments,
        )
        model.train()
        trainer.fit(model, DataLoader(cast(Any, [batch] * EPOCH), batch_size=None))


def longest_stage(model: Inpainter) -> int:
    """Return the first batch of the longest stage."""
    spans = StageSchedule(model.stages(), EPOCH).spans
    return max(spans, key=lambda span: math.inf if span.end is None else span.end - span.begin).begin


def measure_papers(size: int, count: int) -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement for each paper."""
    for name in paper_names():
        yield name, lambda setup, name=name: measure_paper(setup, name, size, count)


def measure_paper(setup: Setup, name: str, size: int, count: int) -> Found:
    """Measure images per second, peak memory and losses in each precision, and the losses' difference between CPU and GPU."""
    set_tf32(False)
    if setup.quick:
        size, count = 64, 2
    model = build(name, size)
    side = size + -size % model.multiple
    begin = longest_stage(model)
    found: Found = {"size": side, "batch": count, "parameters": sum(p.numel() for p in model.generator.parameters())}
    batch = make_batch(side, count, setup.device, model)
    for precision in PRECISIONS[:2] if setup.quick else PRECISIONS:
        timer = StepTimer(begin, *((2, 1, 0.0) if setup.quick else (3, 10, 0.5)))
        counter = CountSynchronizations(begin + 1, begin + 2)
        if setup.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            train(copy.deepcopy(model), batch, precision, timer, setup.device, counter)
        except (UserError, torch.OutOfMemoryError, ValueError, RuntimeError) as error:
            found[precision] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        finally:
            counter.stop(setup.device)
        losses = {key: float(value) for key, value in timer.losses.items()}
        found[precision] = {
            "images_per_second": count * timer.timed / timer.seconds,
            "steps": timer.timed,
            "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if setup.device == "cuda" else None,
            "finite": all(map(math.isfinite, losses.values())),
            "synchronizations": dict(counter.synchronizations if setup.device == "cuda" else counter.scalars),
        }
    if size == 64:
        found["relative_difference_cpu"] = cpu_difference(setup, model, begin, side)
    return found


def cpu_difference(setup: Setup, model: Inpainter, begin: int, size: int) -> dict[str, float]:
    """Return the relative difference of each loss of one float32 step without dropout between the device and the CPU."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if "Dropout" in type(layer).__name__ and hasattr(layer, "p"):
            layer.p = 0.0
    losses = []
    for device in ("cpu", setup.device):
        timer = StepTimer(begin, 0, 1, 0.0)
        train(copy.deepcopy(model), make_batch(size, 2, device, model), "32-true", timer, device)
        losses.append({name: float(value) for name, value in timer.losses.items()})
    return {name: abs(losses[1][name] - value) / max(abs(value), 1e-12) for name, value in losses[0].items()}


# The command fit ------------------------------------------------------------------------------------------------------------


def write_images(folder: Path, count: int, side: int) -> Path:
    """Write crops of scikit-image's photographs as JPEGs, in train/ and val/."""
    from lit_inpaint.data.datasets.demo_photos import TRAIN, VAL

    package = Path(cast(str, __import__("skimage").__file__)).parent / "data"
    photos = [Image.open(package / name).convert("RGB") for name in (*TRAIN, *VAL) if (package / name).is_file()]
    rng = np.random.default_rng(0)
    for split, number in (("train", count), ("val", max(8, count // 16))):
        (folder / split).mkdir(parents=True)
        for index in range(number):
            photo = photos[index % len(photos)]
            crop = int(rng.integers(min(photo.size) // 3, min(photo.size)))
            x, y = (int(rng.integers(0, length - crop + 1)) for length in photo.size)
            square = photo.resize((side, side), box=(x, y, x + crop, y + crop))
            square.save(folder / split / f"{index:05}.jpg", quality=90)
    return folder


def images_of(setup: Setup, side: int = 256) -> Path:
    """Return the folder of generated images, made at the first call."""
    folder = setup.scratch / f"images{side}"
    return folder if folder.exists() else write_images(folder, 16 if setup.quick else 1024, side)


def run_fit(setup: Setup, run_dir: str, *options: str) -> Path:
    """Run `fit` in this process; return its run directory."""
    folder = setup.scratch / run_dir
    accelerator = "gpu" if setup.device == "cuda" else "cpu"
    arguments = ["--run_dir", str(folder), "--wandb.mode", "disabled", "--trainer.accelerator", accelerator]
    with (setup.output / "fit.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        status = fit.main([*arguments, "--trainer.devices", "1", *options])
    os.environ.pop("LIT_INPAINT_RUN_DIR", None)
    if status:
        raise RuntimeError(f"fit returned {status}")
    return folder


@contextmanager
def extra_callback(callback: Callback) -> Iterator[None]:
    """Add a callback before all others of the next run of `fit`."""
    original = RunTrainer.fit

    def with_callback(self: RunTrainer, *args: Any, **kwargs: Any) -> Trainer:
        cast(Any, self.trainer).callbacks.insert(0, callback)
        return original(self, *args, **kwargs)

    with mock.patch.object(RunTrainer, "fit", with_callback):
        yield


class CountScalars(TorchDispatchMode):
    """Counts copies of single values from `device` to the host, such as `float(loss)`, by the line of code that needs them."""

    def __init__(self, counter: Counter[str], device: str) -> None:
        super().__init__()
        self.counter = counter
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].device.type == self.device:
            self.counter[code_line()] += 1
        return func(*args, **(kwargs or {}))


class CountSynchronizations(Callback):
    """Counts what makes the host wait for the device in the batches `first` to `last` of a run."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.synchronizations: Counter[str] = Counter()
        self.scalars: Counter[str] = Counter()
        self.traceback: dict[str, str] = {}
        self._mode: CountScalars | None = None
        self._show: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.first:
            self._show = warnings.showwarning
            warnings.showwarning = self._record
            warnings.simplefilter("always")
            self._mode = CountScalars(self.scalars, pl_module.device.type)
            self._mode.__enter__()
            if pl_module.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("warn")
        elif trainer.global_step == self.last:
            self.stop(pl_module.device.type)

    def stop(self, device: str) -> None:
        """Stop counting."""
        if self._mode is not None:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
            self._mode.__exit__(None, None, None)
            warnings.showwarning = self._show
            self._mode = None

    def _record(self, message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        if "synchronizing" in str(message):
            line = code_line()
            self.synchronizations[line] += 1
            self.traceback.setdefault(line, "".join(traceback.format_stack()[-9:-1])[-1500:])


def code_line() -> str:
    """Return the innermost line of this package on the stack, and the innermost line of all."""
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.endswith(("warnings.py", "training.py"))]
    wrappers = ("_python_dispatch", "torch/_ops", "torch/_dynamo", "torch/_compile")
    frames = [frame for frame in frames if not any(wrapper in frame.filename for wrapper in wrappers)]
    ours = next((frame for frame in reversed(frames) if PACKAGE in frame.filename), frames[-1])
    last = frames[-1]
    inner = "" if ours is last else f" > {'/'.join(Path(last.filename).parts[-2:])}:{last.lineno}"
    return f"{ours.filename.rpartition(PACKAGE)[2]}:{ours.lineno} {ours.name}{inner}"


def host_synchronizations(setup: Setup) -> Found:
    """Count what makes the host wait in ten batches of whole runs of `fit`, with EMA, for two update orders."""
    first, last = (2, 6) if setup.quick else (5, 15)
    found: Found = {}
    with warnings.catch_warnings():
        for label, options in {
            "lpi_net": ("--experiment", "benchmark/lpi_net"),
            "lpi_net, alternating, clipped": (
                "--experiment",
                "benchmark/lpi_net",
                "--model.stages",
                "[{update: alternating}]",
                "--model.training.clip_generator",
                "1",
            ),
        }.items():
            counter = CountSynchronizations(first, last)
            with extra_callback(counter):
                run_fit(
                    setup,
                    f"sync {label}",
                    *options,
                    *small_run(setup, last + 2),
                    *("--ema", "0.999", "--trainer.log_every_n_steps", "50", "--trainer.limit_val_batches", "0"),
                )
            counter.stop(setup.device)
            steps = last - first
            found[label] = {
                "synchronizations_per_step": sum(counter.synchronizations.values()) / steps,
                "scalars_per_step": sum(counter.scalars.values()) / steps,
                "lines": dict(counter.synchronizations.most_common()),
                "scalar_lines": dict(counter.scalars.most_common()),
                "tracebacks": counter.traceback,
            }
    return found


def small_run(setup: Setup, steps: int) -> tuple[str, ...]:
    """Options of a run of `steps` batches of 64x64 from the generated images."""
    return (
        *("--data.root", str(images_of(setup)), "--data.workers", "0", "--data.size", "64"),
        *("--data.batch_size", "2" if setup.quick else "16", "--protocol", "lpi", "--baselines", "false"),
        *("--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps), "--num_samples", "4"),
        *("--trainer.enable_progress_bar", "false", "--data.val_images", "8", "--checkpoint_every", "100000"),
    )


def resume(setup: Setup) -> Found:
    """Compare a run that stops at half and resumes with an uninterrupted one, and two uninterrupted ones with each other."""
    steps = 4 if setup.quick else 20
    found: Found = {"steps": steps}
    for label, options in {
        "deterministic": ("--trainer.deterministic", "true", "--trainer.benchmark", "false"),
        "default": (),
    }.items():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        lr = "{class_path: lit_inpaint.settings.Adam, init_args: {lr: 1.0e-3}}"
        base = ("--experiment", "benchmark/lpi_net", "--model.generator_optimizer", lr, "--ema", "0.9", "--tf32", "false")
        try:
            runs = [run_fit(setup, f"resume {label} {number}", *base, *small_run(setup, steps), *options) for number in (1, 2)]
            for length in (steps // 2, steps):
                halves = run_fit(setup, f"resume {label} 3", *base, *small_run(setup, length), *options)
            states = [read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (*runs, halves)]
            found[label] = {
                "repeated": largest_difference(states[0], states[1]),
                "resumed": largest_difference(states[0], states[2]),
            }
        except Exception as error:  # each setting is reported
            found[label] = {"error": f"{type(error).__name__}: {str(error)[:400]}"}
        finally:
            torch.use_deterministic_algorithms(False)
    return found


def largest_difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest absolute difference of any two values."""
    return max(float((value.cpu().double() - other[name].cpu().double()).abs().max()) for name, value in one.items())


class PollGPU:
    """Reads the utilization of the GPU five times a second, in a thread."""

    def __init__(self, device: str) -> None:
        self.values: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        if device == "cuda":
            self._thread.start()

    def _poll(self) -> None:
        with suppress(Exception):  # without NVML there are no values
            while not self._over.wait(0.2):
                self.values.append(torch.cuda.utilization())

    def stop(self) -> float | None:
        """Return the median of the busier half of the readings, which leaves out the start of a run."""
        self._over.set()
        return statistics.median(sorted(self.values)[len(self.values) // 2 :]) if self.values else None


class Clock(Callback):
    """Records when each batch starts."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.starts.append(time.perf_counter())


def fit_end_to_end(size: int, count: int) -> Callable[[Setup], Found]:
    """Measure `fit` from files to weights, with loader processes and all callbacks."""

    def measure(setup: Setup) -> Found:
        batch, steps = (2, 4) if setup.quick else (count, 120)
        found: Found = {"size": size, "batch": batch}
        for experiment in ("lpi_net",) if setup.quick else ("lpi_net", "unet"):
            clock, gpu = Clock(), PollGPU(setup.device)
            begin = time.perf_counter()
            with extra_callback(clock):
                folder = run_fit(
                    setup,
                    f"fit {experiment} {size}",
                    *("--experiment", f"benchmark/{experiment}", *small_run(setup, steps), "--data.size", str(size)),
                    *("--data.batch_size", str(batch), "--data.workers", str(setup.workers), "--data.cache", "false"),
                    *("--trainer.precision", "bf16-mixed", "--trainer.log_every_n_steps", "20", "--ema", "0.999"),
                )
            half = clock.starts[len(clock.starts) // 2 :]
            gaps = [b - a for a, b in pairwise(half)]
            found[experiment] = {
                "images_per_second": batch * len(gaps) / (half[-1] - half[0]),
                "median_ms": 1e3 * statistics.median(gaps),
                "seconds_to_first_batch": clock.starts[0] - begin,
                "seconds": time.perf_counter() - begin,
                "gpu_utilization": gpu.stop(),
                "rows": last_rows(folder),
            }
            for number, grid in enumerate(sorted((folder / "samples").glob("*.png"))[-1:]):
                shutil.copy(grid, setup.output / f"samples_{experiment}_{size}_{number}.png")
        contact_sheet(setup.output)
        return found

    return measure


def last_rows(folder: Path) -> list[dict[str, str]]:
    """Return the last two rows of the log, without empty cells."""
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in list(csv.DictReader(file))[-2:]]


def contact_sheet(folder: Path) -> None:
    """Join the sample grids in `folder` to one image, and remove them."""
    files = sorted(folder.glob("samples_*.png"))
    grids = [Image.open(file).convert("RGB") for file in files]
    if (folder / "contact_sheet.png").exists():
        grids.insert(0, Image.open(folder / "contact_sheet.png").convert("RGB"))
    sheet = Image.new("RGB", (max(grid.width for grid in grids), sum(grid.height for grid in grids)), "white")
    top = 0
    for grid in grids:
        sheet.paste(grid, (0, top))
        top += grid.height
    sheet.save(folder / "contact_sheet.png")
    for file in files:
        file.unlink()


def fit_ddp(setup: Setup) -> Found:
    """Run `fit` under DDP with one process, over NCCL on a GPU, with synchronized batch norm."""
    steps = 3 if setup.quick else 30
    found: Found = {}
    for experiment in ("lpi_net", "unet"):
        clock = Clock()
        with extra_callback(clock):
            folder = run_fit(
                setup,
                f"ddp {experiment}",
                *("--experiment", f"benchmark/{experiment}", *small_run(setup, steps), "--trainer.strategy", "ddp"),
                *("--trainer.log_every_n_steps", "1"),
            )
        gaps = [b - a for a, b in pairwise(clock.starts)]
        found[experiment] = {"median_ms": 1e3 * statistics.median(gaps), "rows": last_rows(folder)}
    return found


# One network in detail ------------------------------------------------------------------------------------------------------


def compiled(name: str) -> Callable[[Setup], Found]:
    """Compare eager and compiled training steps in bf16."""

    def measure(setup: Setup) -> Found:
        size, count = (64, 2) if setup.quick else (256, 16)
        model = build(name, size)
        batch, begin, found = make_batch(size, count, setup.device), longest_stage(model), dict[str, Any]()
        for label, on in {"eager": False, "compiled": True}.items():
            torch.compiler.reset()
            other = copy.deepcopy(model)
            other.training_settings = dataclasses.replace(other.training_settings, compile=on)
            timer = StepTimer(begin, *((1, 2, 0.0) if setup.quick else (4, 30, 2.0)))
            start = time.perf_counter()
            train(other, batch, "bf16-mixed", timer, setup.device)
            found[label] = {
                "images_per_second": count * timer.timed / timer.seconds,
                "seconds_before": time.perf_counter() - start - timer.seconds,
                "losses": {key: float(value) for key, value in timer.losses.items()},
            }
        return found

    return measure


class Profile(Callback):
    """Profiles the batches `first` to `last`."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self.profiler = torch.profiler.profile(activities=activities)
        self._number = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._number == self.first:
            synchronize(pl_module.device)
            self.profiler.__enter__()
        self._number += 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._number == self.last:
            synchronize(pl_module.device)
            self.profiler.__exit__(None, None, None)


def profile_step(setup: Setup) -> Found:
    """List the ten operators with the most time of LPI-Net's step, in float32 and bf16."""
    size, count = (64, 2) if setup.quick else (256, 16)
    found: Found = {}
    for precision in ("32-true", "bf16-mixed"):
        model, callback = build("LPINet", size), Profile(2, 4)
        timer = StepTimer(longest_stage(model), 2, 4, math.inf)
        train(model, make_batch(size, count, setup.device), precision, timer, setup.device, callback)
        on_device = setup.device == "cuda"
        name = "self_device_time_total" if on_device else "self_cpu_time_total"
        events = sorted(callback.profiler.key_averages(), key=lambda event: getattr(event, name), reverse=True)
        total = sum(getattr(event, name) for event in events) or 1
        found[precision] = {event.key[:90]: round(getattr(event, name) / total, 3) for event in events[:10]}
        found[precision]["ms_per_step"] = total / 2e3
    return found


# Synchronized batch norm ----------------------------------------------------------------------------------------------------


def sync_batchnorm_parity(setup: Setup) -> Found:
    """Compare torch's synchronized batch norm on two processes that share the GPU (over gloo) with one on the whole batch."""
    with tempfile.TemporaryDirectory() as folder:
        context = torch.multiprocessing.get_context("spawn")
        processes = [context.Process(target=_normalize, args=(rank, folder, setup.device), daemon=True) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(50)
        parts = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]
    layer, x = nn.BatchNorm2d(5).double(), _input()
    output = layer(x)
    output.pow(3).sum().backward()
    assert x.grad is not None
    return {
        "output": float((torch.cat([part["output"] for part in parts]) - output).abs().max()),
        "gradient": float((torch.cat([part["gradient"] for part in parts]) - x.grad).abs().max()),
    }


def _input() -> Tensor:
    return torch.randn(8, 5, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def _normalize(rank: int, folder: str, device: str) -> None:
    from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    network = SyncBatchNorm().apply(nn.Sequential(nn.BatchNorm2d(5)).double().to(device))
    x = _input().detach()[4 * rank : 4 * rank + 4].to(device).requires_grad_()
    output = network(x)
    output.pow(3).sum().backward()
    assert x.grad is not None
    torch.save({"output": output.detach().cpu(), "gradient": x.grad.cpu()}, Path(folder) / f"{rank}.pt")
