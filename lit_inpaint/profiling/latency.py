"""How much a network weighs, how long it takes and how much memory: the numbers that `python -m lit_inpaint.cost` prints."""

from __future__ import annotations

import io
import json
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from lit_inpaint.engine.global_step import set_global_step
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.training_stages import StageSchedule
from lit_inpaint.types import Batch

Precision = Literal["float32", "bf16"]
_MOST_PARTS = 4  # a generator with more children than this has layers, not parts


class ModelSize(NamedTuple):
    """What one network weighs, whatever it runs on.

    Attributes:
        parameters: numbers of the generator that are learnt.
        parts: the same for each part of the generator where it has some, "discriminator" where it has one, and "total".
        macs: of the generator, for one image.
        weights_file: bytes of the generator's state dict as `torch.save` writes it.
    """

    parameters: int
    parts: Mapping[str, int]
    macs: int
    weights_file: int


class DevicePrecision(NamedTuple):
    """Where and how a forward pass runs."""

    device: torch.device
    precision: Precision


class Timing(NamedTuple):
    """Seconds of one pass or step, the median of `n`."""

    seconds: float
    n: int


@dataclass
class Speed:
    """One network under one `Kind`.

    Attributes:
        peak: bytes that a forward of one image needs at most: weights, buffers, input, and all that its operators allocate as
            tensors. Work space inside the libraries' kernels is not in it on a CPU.
        timings: by the number of images in the batch.
    """

    peak: int
    timings: dict[int, Timing] = field(default_factory=dict)


def count_params_macs(model: Inpainter, size: int) -> ModelSize:
    """Count what a network holds and what one forward pass of a `size` x `size` image multiplies.

    Args:
        model: a paper; it is left in evaluation mode.
        size: side of the image in pixels, rounded up to what the network takes without padding.
    """
    image, mask = _example(model, size, 1, next(model.parameters()).device)
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image, mask)
    file = io.BytesIO()
    torch.save(model.generator.state_dict(), file)
    children = dict(model.generator.named_children())
    parts = {name: _count(child) for name, child in children.items()} if 1 < len(children) <= _MOST_PARTS else {}
    if model.discriminator is not None:
        parts["discriminator"] = _count(model.discriminator)
    own = _count(model.generator)
    total = own + parts.get("discriminator", 0)
    return ModelSize(own, {**parts, "total": total}, counter.get_total_flops() // 2, file.tell())


def benchmark_forward(
    models: Sequence[Inpainter], size: int, batches: Sequence[int], runs: int, seconds: float, kind: DevicePrecision
) -> list[Speed]:
    """Time forward passes of several networks in turns, so that a busy moment of the machine meets all of them.

    Args:
        models: papers; they are moved to the kind's device and left in evaluation mode.
        size: side of the images, rounded up to what each network takes without padding.
        batches: numbers of images in a batch to time; none measures the memory alone.
        runs: timed passes for each batch, after one more to warm up.
        seconds: a network that has spent as many on one batch is timed no further; each is timed once at least.
        kind: where and how.

    Returns:
        One for each network. On a GPU whose memory is too small for a batch, a network has no timing of it.

    Raises:
        torch.OutOfMemoryError: the GPU's memory is too small for a single image, or has been taken meanwhile.
    """
    with torch.no_grad():
        for model in models:
            model.to(kind.device).eval()
        speeds = [Speed(_peak(model, size, kind)) for model in models]
        for batch in batches:
            inputs = [_example(model, size, batch, kind.device) for model in models]
            # Kernels are chosen and memory is laid out anew for each shape: the first pass of one is slower than all others.
            fitting = [_fits(model, example, kind) for model, example in zip(models, inputs, strict=True)]
            taken: list[list[float]] = [[] for _ in models]
            for _ in range(runs):
                for model, example, fits, times in zip(models, inputs, fitting, taken, strict=True):
                    if fits and sum(times) < seconds:
                        times.append(_pass(model, example, kind))
            for speed, times in zip(speeds, taken, strict=True):
                if times:
                    speed.timings[batch] = Timing(statistics.median(times), len(times))
    return speeds


def benchmark_train_step(
    model: Inpainter, size: int, batch: int, batches: int, runs: int, seconds: float, device: torch.device
) -> Timing:
    """Time training steps in float32: forward, losses, backward and optimizers of all players, as the engine runs them.

    They are those of the stage that lasts longest, from its first batch on, in the plan of a run of such epochs. Loading is not
    in it: the batch is the same each time.

    Args:
        model: a paper; it is trained, and left on `device`.
        size: side of the images, rounded up to what the network takes without padding.
        batch: images in a step.
        batches: steps in an epoch.
        runs: timed steps, after one more to warm up.
        seconds: when as many are spent, no further step is timed; one is at least.
        device: where.

    Raises:
        UserError: weights of a loss network are missing, or the network does not learn from images of this size.
        torch.OutOfMemoryError: the GPU's memory is too small.
    """
    image, mask = _example(model, size, batch, torch.device("cpu"))
    spans = StageSchedule(model.stages(), batches).spans
    span = max(spans, key=lambda span: math.inf if span.end is None else span.end - span.begin)
    watch = _Watch(span.begin, runs, seconds)
    same = Batch(image=image, mask=mask, name=[str(number) for number in range(batch)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)  # advice for whole runs
        trainer = Trainer(
            accelerator=device.type,
            devices=1,
            max_steps=span.begin + 1 + runs,
            max_epochs=-1,
            logger=False,
            callbacks=[watch],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tempfile.gettempdir(),
        )
        model.train()  # Lightning leaves it as it is
        trainer.fit(model, DataLoader(_Repeated(same, batches), batch_size=None))
    return Timing(statistics.median(watch.taken), len(watch.taken))


class _Repeated(Dataset[Batch]):
    """One batch, as often as an epoch has batches."""

    def __init__(self, batch: Batch, count: int) -> None:
        self.batch = batch
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.batch


class _Watch(Callback):
    """The time of each training step but the first, as long as there is time.

    Args:
        begin: number of the first batch.
        runs: steps at most.
        seconds: as many are enough.
    """

    def __init__(self, begin: int, runs: int, seconds: float) -> None:
        self.begin = begin
        self.runs = runs
        self.seconds = seconds
        self.taken: list[float] = []
        self._warm = False
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go to the first batch."""
        set_global_step(trainer, self.begin)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """A step begins."""
        _wait(pl_module.device)
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """A step is over."""
        _wait(pl_module.device)
        if self._warm:
            self.taken.append(time.perf_counter() - self._start)
        self._warm = True
        trainer.should_stop = len(self.taken) >= self.runs or (bool(self.taken) and sum(self.taken) >= self.seconds)


def has_bf16(device: torch.device) -> bool:
    """Whether the processor or GPU multiplies bfloat16 itself; emulated, it takes tens of times as long as float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _example(model: Inpainter, size: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of noise whose middle is a hole."""
    side = size + -size % model.multiple
    image = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.zeros(batch, 1, side, side, device=device)
    mask[..., side // 4 : side - side // 4, side // 4 : side - side // 4] = 1
    return image, mask


def _cast(kind: DevicePrecision) -> AbstractContextManager[object]:
    return torch.autocast(kind.device.type, torch.bfloat16, enabled=kind.precision == "bf16")


def _fits(model: Inpainter, example: tuple[Tensor, Tensor], kind: DevicePrecision) -> bool:
    """Whether one forward, which warms up, gets the memory that it needs."""
    try:
        _pass(model, example, kind)
    except torch.OutOfMemoryError:
        return False
    return True


def _pass(model: Inpainter, example: tuple[Tensor, Tensor], kind: DevicePrecision) -> float:
    """Seconds of one forward."""
    _wait(kind.device)
    start = time.perf_counter()
    with _cast(kind):
        model(*example)
    _wait(kind.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    """Until the GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(model: Inpainter, size: int, kind: DevicePrecision) -> int:
    """Bytes that a forward of one image needs at most; `Speed` says what counts."""
    example = _example(model, size, 1, kind.device)
    state = [*model.generator.parameters(), *model.generator.buffers(), *example]
    held = sum(tensor.numel() * tensor.element_size() for tensor in state)
    if kind.device.type == "cuda":
        _pass(model, example, kind)  # libraries take their work space at the first use
        torch.cuda.reset_peak_memory_stats(kind.device)
        before = torch.cuda.memory_allocated(kind.device)
        _pass(model, example, kind)
        return held + torch.cuda.max_memory_allocated(kind.device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        _pass(model, example, kind)
    with tempfile.TemporaryDirectory() as folder:  # the trace has every allocation, the profiler's own lists only some
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: float(event["ts"])):
        now += event["args"]["Bytes"]
        most = max(most, now)
    return held + most
