"""Benchmark forward passes and training steps: time and peak memory.

`torch.utils.benchmark` is not used: its timer measures one network to the end before the next, with two more passes for each
measurement. Passes of several networks are interleaved here, so that a busy moment of the machine affects all of them.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from lit_inpaint.engine.global_step import set_global_step
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.training_stages import StageSchedule
from lit_inpaint.profiling.macs import example_input
from lit_inpaint.types import Batch

if TYPE_CHECKING:
    from torch.utils.data import Dataset


class DevicePrecision(NamedTuple):
    """Device and floating-point precision of a forward pass; bf16 is autocast."""

    device: torch.device
    precision: Literal["float32", "bf16"]


class Timing(NamedTuple):
    """Median seconds of `n` passes or steps."""

    seconds: float
    n: int


@dataclass
class ForwardBenchmark:
    """Forward passes of one network on one device, in one precision.

    Attributes:
        peak: bytes at the peak of a forward pass of one image: weights, buffers, input, and all tensors that operators
            allocate. On a CPU it does not include work space inside library kernels.
        timings: by batch size.
    """

    peak: int
    timings: dict[int, Timing] = field(default_factory=dict)


def benchmark_forward(
    models: Sequence[Inpainter], size: int, batches: Sequence[int], runs: int, seconds: float, kind: DevicePrecision
) -> list[ForwardBenchmark]:
    """Time forward passes of several networks, interleaved, and measure their peak memory.

    Args:
        models: papers; they are moved to the device and left in evaluation mode.
        size: side of the images in pixels, rounded up to each network's multiple.
        batches: batch sizes to time; empty to measure the memory alone.
        runs: maximum number of timed passes of a batch size, after one to warm up.
        seconds: a network is not timed further once its passes of a batch size took so long; each is timed at least once.
        kind: device and precision.

    Returns:
        One benchmark for each network. It has no timing of a batch that does not fit the GPU's memory.

    Raises:
        torch.OutOfMemoryError: one image does not fit the GPU's memory, or the memory was taken meanwhile.
    """
    with torch.no_grad():
        for model in models:
            model.to(kind.device).eval()
        benchmarks = [ForwardBenchmark(_peak_memory(model, size, kind)) for model in models]
        for batch in batches:
            inputs = [example_input(model, size, batch, kind.device) for model in models]
            # The first pass of a shape is slower: kernels are chosen and memory is laid out.
            fits = [_warm_up(model, example, kind) for model, example in zip(models, inputs, strict=True)]
            times: list[list[float]] = [[] for _ in models]
            for _ in range(runs):
                for model, example, fitting, taken in zip(models, inputs, fits, times, strict=True):
                    if fitting and sum(taken) < seconds:
                        taken.append(_time_forward(model, example, kind))
            for benchmark, taken in zip(benchmarks, times, strict=True):
                if taken:
                    benchmark.timings[batch] = Timing(statistics.median(taken), len(taken))
    return benchmarks


def benchmark_train_step(
    model: Inpainter, size: int, batch: int, batches: int, runs: int, seconds: float, device: torch.device
) -> Timing:
    """Time float32 training steps as the engine runs them: forward, losses, backward and optimizers of all players.

    Steps are those at the start of the longest training stage of a run with such epochs. Every step has the same batch, so
    loading is not included.

    Args:
        model: a paper; it is trained, and left on `device`.
        size: side of the images in pixels, rounded up to the network's multiple.
        batch: images in a step.
        batches: steps in an epoch.
        runs: maximum number of timed steps, after one to warm up.
        seconds: timing ends after so much measured time; at least one step is timed.
        device: of the training.

    Raises:
        UserError: weights of a loss network are missing, or the network cannot be trained at this size.
        torch.OutOfMemoryError: the batch does not fit the GPU's memory.
    """
    image, mask = example_input(model, size, batch, torch.device("cpu"))
    spans = StageSchedule(model.stages(), batches).spans
    longest = max(spans, key=lambda span: math.inf if span.end is None else span.end - span.begin)
    timer = _StepTimer(longest.begin, runs, seconds)
    repeated = [Batch(image=image, mask=mask, name=[str(number) for number in range(batch)])] * batches
    with _quiet_lightning():
        trainer = Trainer(
            accelerator=device.type,
            devices=1,
            max_steps=longest.begin + 1 + runs,
            max_epochs=-1,
            logger=False,
            callbacks=[timer],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tempfile.gettempdir(),
        )
        model.train()  # Lightning keeps the mode
        trainer.fit(model, DataLoader(cast("Dataset[Batch]", repeated), batch_size=None))
    return Timing(statistics.median(timer.times), len(timer.times))


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 instructions. Emulation takes tens of times as long as float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


class _StepTimer(Callback):
    """Times training steps from batch number `begin`, except the first, until `runs` steps or `seconds` are reached."""

    def __init__(self, begin: int, runs: int, seconds: float) -> None:
        self.begin = begin
        self.runs = runs
        self.seconds = seconds
        self.times: list[float] = []
        self._warm = False
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_global_step(trainer, self.begin)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._start = _synchronized_time(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        end = _synchronized_time(pl_module.device)
        if self._warm:
            self.times.append(end - self._start)
        self._warm = True
        trainer.should_stop = len(self.times) >= self.runs or (bool(self.times) and sum(self.times) >= self.seconds)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hide Lightning's messages at the start of a run."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            yield
    finally:
        logger.setLevel(level)


def _warm_up(model: Inpainter, example: tuple[Tensor, Tensor], kind: DevicePrecision) -> bool:
    """Whether a first forward pass fits the memory."""
    try:
        _time_forward(model, example, kind)
    except torch.OutOfMemoryError:
        return False
    return True


def _time_forward(model: Inpainter, example: tuple[Tensor, Tensor], kind: DevicePrecision) -> float:
    start = _synchronized_time(kind.device)
    with torch.autocast(kind.device.type, torch.bfloat16, enabled=kind.precision == "bf16"):
        model(*example)
    return _synchronized_time(kind.device) - start


def _synchronized_time(device: torch.device) -> float:
    """Seconds on a monotonic clock, once the GPU has finished its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak_memory(model: Inpainter, size: int, kind: DevicePrecision) -> int:
    """Bytes, see `ForwardBenchmark.peak`."""
    example = example_input(model, size, 1, kind.device)
    state = [*model.generator.parameters(), *model.generator.buffers(), *example]
    held = sum(tensor.numel() * tensor.element_size() for tensor in state)
    if kind.device.type == "cuda":
        _time_forward(model, example, kind)  # libraries allocate their work space at the first use
        torch.cuda.reset_peak_memory_stats(kind.device)
        before = torch.cuda.memory_allocated(kind.device)
        _time_forward(model, example, kind)
        return held + torch.cuda.max_memory_allocated(kind.device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        _time_forward(model, example, kind)
    with tempfile.TemporaryDirectory() as folder:  # the trace has every allocation, the profiler's lists only some
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        current += event["args"]["Bytes"]
        peak = max(peak, current)
    return held + peak
