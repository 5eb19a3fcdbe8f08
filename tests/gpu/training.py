"""Measurements of training: every paper's step, host synchronizations, resuming, `fit`, DDP, compilation."""

from __future__ import annotations

import copy
import csv
import dataclasses
import fcntl
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
from gpu_lock import GPULock
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
PRECISIONS = ("32-true", "bf16-mixed")
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
    if isinstance(model, papers.ContextEncoder):  # it fills the central half of each side
        border = torch.ones(1, 1, size, size)
        border[..., size // 4 : -(size // 4), size // 4 : -(size // 4)] = 0
        mask = (1 - border).expand(count, -1, -1, -1).contiguous()
    batch: Batch = {"image": image.to(device), "mask": mask.to(device), "name": [str(number) for number in range(count)]}
    if model is not None and model.edge_detector is not None:
        batch["edges"] = model.edge_detector(image).to(device)
    return batch


class StepTimer(Callback):
    """Trains from batch number `begin`; times `steps` batches after the first `warm`, or fewer if they last `seconds`.

    From the batch `quiet` to the end, no other measurement uses the GPU.
    """

    def __init__(
        self, begin: int, warm: int, steps: int, seconds: float, lock: GPULock | None = None, quiet: int | None = None
    ) -> None:
        self.begin, self.warm, self.steps, self.limit = begin, warm, steps, seconds
        self.lock, self.quiet = lock, max(0, warm - 2) if quiet is None else quiet
        self.done = 0
        self.losses: dict[str, Tensor] = {}
        self.first_seconds = math.nan
        self._marks: list[torch.cuda.Event | float] = []
        self._start = 0.0

    @property
    def timed(self) -> int:
        """Return the number of timed batches."""
        return len(self._marks) - 1

    def speed(self, count: int) -> Found:
        """Return images per second of batches of `count`, from the median time of a batch, and from the mean."""
        gaps = []
        for one, next_one in pairwise(self._marks):
            if isinstance(one, float):
                gaps.append(cast(float, next_one) - one)
            else:
                cast(torch.cuda.Event, next_one).synchronize()
                gaps.append(one.elapsed_time(next_one) / 1e3)
        return {
            "images_per_second": count / statistics.median(gaps),
            "mean": count / statistics.fmean(gaps),
            "steps": len(gaps),
            "first_step": self.first_seconds,
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_global_step(trainer, self.begin)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.lock is not None and self.done == self.quiet:
            self.lock.acquire()
        if self.done in (0, self.warm):
            synchronize(pl_module.device)
            self._start = time.perf_counter()
        if self.done == self.warm:
            self._mark(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.done += 1
        self.losses = outputs
        if self.done == 1:
            synchronize(pl_module.device)
            self.first_seconds = time.perf_counter() - self._start
        if self.done > self.warm:
            self._mark(pl_module.device)
            trainer.should_stop = self.timed == self.steps or time.perf_counter() - self._start > self.limit

    def _mark(self, device: torch.device) -> None:
        if device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())


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
        try:
            trainer.fit(model, DataLoader(cast(Any, [batch] * EPOCH), batch_size=None))
            synchronize(model.device)
        finally:
            if timer.lock is not None:
                timer.lock.release()


def longest_stage(model: Inpainter) -> int:
    """Return the first batch of the longest stage."""
    spans = StageSchedule(model.stages(), EPOCH).spans
    return max(spans, key=lambda span: math.inf if span.end is None else span.end - span.begin).begin


def measure_papers(
    size: int, count: int, precisions: tuple[str, ...] = PRECISIONS
) -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement for each paper."""
    for name in paper_names():
        yield name, lambda setup, name=name: measure_paper(setup, name, size, count, precisions)


def measure_paper(setup: Setup, name: str, size: int, count: int, precisions: tuple[str, ...]) -> Found:
    """Measure images per second, peak memory, losses and host synchronizations of a step in each precision."""
    set_tf32(False)
    if setup.quick:
        size, count = 64, 2
    model = build(name, size)
    side = size + -size % model.multiple
    begin = longest_stage(model)
    found: Found = {"size": side, "batch": count, "parameters": sum(p.numel() for p in model.generator.parameters())}
    batch = make_batch(side, count, setup.device, model)
    for precision in precisions:
        timer = StepTimer(begin, *((2, 2, 0.0) if setup.quick else (3, 10, 0.6)), setup.lock)
        counter = CountSynchronizations(begin + 1, begin + 2)
        if setup.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        own = copy.deepcopy(model) if precision != precisions[-1] else model
        try:
            train(own, batch, precision, timer, setup.device, counter)
        except (UserError, torch.OutOfMemoryError, ValueError, RuntimeError) as error:
            found[precision] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
            continue
        finally:
            counter.stop(setup.device)
        losses = {key: float(value) for key, value in timer.losses.items()}
        found[precision] = {
            **timer.speed(count),
            "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if setup.device == "cuda" else None,
            "finite": all(map(math.isfinite, losses.values())),
            "synchronizations": dict(counter.synchronizations if setup.device == "cuda" else counter.scalars),
        }
        setup.report(found)
        del own
    return found


def cpu_differences() -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement for each paper."""
    for name in paper_names():
        yield name, lambda setup, name=name: cpu_difference(setup, name)


def cpu_difference(setup: Setup, name: str) -> Found:
    """Return the relative difference of each loss of one float32 step without dropout between the device and the CPU."""
    set_tf32(False)
    model = build(name, 64)
    size = 64 + -64 % model.multiple
    for layer in model.modules():
        if "Dropout" in type(layer).__name__ and hasattr(layer, "p"):
            layer.p = 0.0
    losses = []
    for device in ("cpu", setup.device):
        timer = StepTimer(longest_stage(model), 0, 1, 0.0)
        train(copy.deepcopy(model), make_batch(size, 2, device, model), "32-true", timer, device)
        losses.append({name: float(value) for name, value in timer.losses.items()})
    return {name: abs(losses[1][name] - value) / max(abs(value), 1e-12) for name, value in losses[0].items()}


# The command fit ------------------------------------------------------------------------------------------------------------


def write_images(folder: Path, count: int, side: int) -> None:
    """Write crops of scikit-image's photographs as JPEGs, in train/ and val/; each of them four times, under four names."""
    from lit_inpaint.data.datasets.demo_photos import TRAIN, VAL

    package = Path(cast(str, __import__("skimage").__file__)).parent / "data"
    photos = [Image.open(package / name).convert("RGB") for name in (*TRAIN, *VAL) if (package / name).is_file()]
    rng = np.random.default_rng(0)
    for split, number in (("train", count // 4), ("val", 8)):
        (folder / split).mkdir(parents=True)
        for index in range(number):
            photo = photos[index % len(photos)]
            crop = int(rng.integers(min(photo.size) // 3, min(photo.size)))
            x, y = (int(rng.integers(0, length - crop + 1)) for length in photo.size)
            square = photo.resize((side, side), box=(x, y, x + crop, y + crop))
            square.save(folder / split / f"{index:05}_0.jpg", quality=90)
            for copied in (1, 2, 3):
                shutil.copy(folder / split / f"{index:05}_0.jpg", folder / split / f"{index:05}_{copied}.jpg")


def images_of(setup: Setup, side: int = 256) -> Path:
    """Return the folder of generated images; the first measurement that calls this makes them, and others wait."""
    folder = setup.scratch / f"images{side}"
    with (setup.scratch / "images.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not folder.exists():
            part = setup.scratch / "part"
            write_images(part, 32 if setup.quick else 1024, side)
            part.replace(folder)
    return folder


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


def host_synchronizations() -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement for each of two update orders, and for a process of DDP."""
    clipped = ("--model.stages", "[{update: alternating}]", "--model.training.clip_generator", "1")
    for label, options in {
        "simultaneous": (),
        "alternating, clipped": clipped,
        "ddp": ("--trainer.strategy", "ddp"),
    }.items():
        yield label, lambda setup, label=label, options=options: count_synchronizations(setup, label, *options)


def count_synchronizations(setup: Setup, label: str, *options: str) -> Found:
    """Count what makes the host wait in ten batches of a whole run of `fit` of LPI-Net, with EMA."""
    first, last = (2, 6) if setup.quick else (5, 15)
    with warnings.catch_warnings():
        counter = CountSynchronizations(first, last)
        with extra_callback(counter):
            run_fit(
                setup,
                f"sync {label}",
                *("--experiment", "benchmark/lpi_net", *options, *small_run(setup, last + 2), "--ema", "0.999"),
                *("--trainer.log_every_n_steps", "50", "--trainer.limit_val_batches", "0"),
            )
        counter.stop(setup.device)
    steps = last - first
    return {
        "synchronizations_per_step": sum(counter.synchronizations.values()) / steps,
        "scalars_per_step": sum(counter.scalars.values()) / steps,
        "lines": dict(counter.synchronizations.most_common()),
        "scalar_lines": dict(counter.scalars.most_common()),
        "tracebacks": counter.traceback,
    }


def small_run(setup: Setup, steps: int) -> tuple[str, ...]:
    """Options of a run of `steps` batches of 64x64 from the generated images."""
    return (
        *("--data.root", str(images_of(setup)), "--data.workers", "0", "--data.size", "64"),
        *("--data.batch_size", "2" if setup.quick else "16", "--protocol", "lpi", "--baselines", "false"),
        *("--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(steps), "--num_samples", "4"),
        *("--trainer.enable_progress_bar", "false", "--data.val_images", "8", "--checkpoint_every", "100000"),
    )


def resume() -> Iterator[tuple[str, Callable[[Setup], Found]]]:
    """Yield a measurement with deterministic operators, and one with the defaults."""
    for label, options in {
        "deterministic": ("--trainer.deterministic", "true", "--trainer.benchmark", "false"),
        "default": (),
    }.items():
        yield label, lambda setup, label=label, options=options: compare_resumed(setup, label, *options)


def compare_resumed(setup: Setup, label: str, *options: str) -> Found:
    """Compare a run that stops at half and resumes with an uninterrupted one, and two uninterrupted ones with each other."""
    steps = 4 if setup.quick else 20
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    lr = "{class_path: lit_inpaint.settings.Adam, init_args: {lr: 1.0e-3}}"
    base = ("--experiment", "benchmark/lpi_net", "--model.generator_optimizer", lr, "--ema", "0.9", "--tf32", "false")
    found: Found = {"steps": steps}
    states = []
    for number, lengths in enumerate(((steps,), (steps // 2, steps), (steps,))):
        for length in lengths:
            folder = run_fit(setup, f"resume {label} {number}", *base, *small_run(setup, length), *options)
        states.append(read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"])
        if number:
            found["resumed" if number == 1 else "repeated"] = largest_difference(states[0], states[number])
        setup.report(found)
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
    """Records when each batch starts, and the GPU's utilization; no other measurement uses the GPU meanwhile."""

    def __init__(self, lock: GPULock) -> None:
        self.lock = lock
        self.starts: list[float] = []
        self.utilization: float | None = None
        self._gpu: PollGPU | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lock.acquire()
        self._gpu = PollGPU(pl_module.device.type)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.starts.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        synchronize(pl_module.device)
        self.utilization = self._gpu.stop() if self._gpu is not None else None
        self.lock.release()


def fit_end_to_end(experiment: str, size: int, count: int, length: int = 160) -> Callable[[Setup], Found]:
    """Measure `fit` from files to weights, with loader processes and all callbacks, in `length` batches."""

    def measure(setup: Setup) -> Found:
        batch, steps = (2, 4) if setup.quick else (count, length)
        clock = Clock(setup.lock)
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
        for grid in sorted((folder / "samples").glob("*.png"))[-1:]:
            shutil.copy(grid, setup.output / f"samples_{experiment.replace('/', '_')}_{size}.png")
        return {
            "size": size,
            "batch": batch,
            "workers": setup.workers,
            "images_per_second": batch * len(gaps) / (half[-1] - half[0]),
            "median_ms": 1e3 * statistics.median(gaps),
            "seconds": time.perf_counter() - begin,
            "gpu_utilization": clock.utilization,
            "rows": last_rows(folder),
        }

    return measure


def last_rows(folder: Path) -> list[dict[str, str]]:
    """Return the last two rows of the log, without empty cells."""
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in list(csv.DictReader(file))[-2:]]


def contact_sheet(folder: Path) -> None:
    """Join the sample grids in `folder` to one image, and remove them."""
    files = sorted(folder.glob("samples_*.png"))
    if not files:
        return
    grids = [Image.open(file).convert("RGB") for file in files]
    sheet = Image.new("RGB", (max(grid.width for grid in grids), sum(grid.height for grid in grids)), "white")
    top = 0
    for grid in grids:
        sheet.paste(grid, (0, top))
        top += grid.height
    sheet.save(folder / "contact_sheet.png")
    for file in files:
        file.unlink()


def fit_ddp(experiment: str) -> Callable[[Setup], Found]:
    """Run `fit` under DDP with one process, over NCCL on a GPU, with synchronized batch norm."""

    def measure(setup: Setup) -> Found:
        steps = 3 if setup.quick else 30
        clock = Clock(setup.lock)
        with extra_callback(clock):
            folder = run_fit(
                setup,
                f"ddp {experiment}",
                *("--experiment", f"benchmark/{experiment}", *small_run(setup, steps), "--trainer.strategy", "ddp"),
                *("--trainer.log_every_n_steps", "10"),
            )
        gaps = [b - a for a, b in pairwise(clock.starts)]
        return {"median_ms": 1e3 * statistics.median(gaps), "batch": 16, "rows": last_rows(folder)}

    return measure


# One network in detail ------------------------------------------------------------------------------------------------------


def compiled(name: str) -> Callable[[Setup], Found]:
    """Measure compiled training steps in bf16, and how long compilation takes; train/* has the uncompiled ones."""

    def measure(setup: Setup) -> Found:
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "3"
        size, count = (64, 2) if setup.quick else (256, 16)
        model = build(name, size)
        model.training_settings = dataclasses.replace(model.training_settings, compile=True)
        side = size + -size % model.multiple
        lengths = (2, 2, 0.0) if setup.quick else (5, 12, 0.6)
        timer = StepTimer(longest_stage(model), *lengths, setup.lock, quiet=lengths[0] - 1)  # others run while it compiles
        start = time.perf_counter()
        train(model, make_batch(side, count, setup.device, model), "bf16-mixed", timer, setup.device)
        return {
            **timer.speed(count),
            "seconds": time.perf_counter() - start,
            "losses": {key: float(value) for key, value in timer.losses.items()},
        }

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
        timer = StepTimer(longest_stage(model), 2, 4, math.inf, setup.lock)
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
        context = torch.multiprocessing.get_context("fork")  # this process has not used the GPU yet
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
