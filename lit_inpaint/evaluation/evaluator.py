"""Score several methods on the same samples under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, filterfalse, islice
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from lit_inpaint.data import InpaintingData
from lit_inpaint.data.inpainting_dataset import EvalDataset
from lit_inpaint.engine.any_size import complete_subsampled
from lit_inpaint.engine.tf32 import tf32_off
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.external_results import ExternalResults
from lit_inpaint.evaluation.partial_results import PartialResults, SampleScore
from lit_inpaint.evaluation.shards import Shard
from lit_inpaint.metrics import (
    DistributionMetrics,
    EvaluationResult,
    Protocol,
    round_uint8,
    score,
)
from lit_inpaint.metrics.distribution_scores import distribution_scores
from lit_inpaint.types import Batch, as_floats, composite
from lit_inpaint.visualization.progress_bar import progress_bar

Completion = Callable[[Tensor, Tensor], Tensor]
"""Image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the completed image or a raw prediction of it."""
Method = Completion | ExternalResults
"""A function that completes images, or the results of another program, which are looked up by the samples' names."""


ALONE = Shard()
"""All samples in one process."""


@torch.no_grad()
@tf32_off()
def evaluate(
    methods: Mapping[str, Method],
    loader: DataLoader[Any],
    protocol: Protocol,
    device: torch.device,
    distribution_metrics: DistributionMetrics | None = None,
    partial: PartialResults | None = None,
    shard: Shard = ALONE,
) -> EvaluationResult:
    """Score every method on every sample of `loader`, without TF32.

    Args:
        methods: by the name in their rows; a network must already be on `device`.
        loader: batches of complete images and their masks, in the same order at each start.
        protocol: the metrics.
        device: of the batches.
        distribution_metrics: builds the metrics of all samples together, once for each method.
        partial: files of the scores so far, from which an interrupted evaluation resumes; prints a line if it does.
        shard: the part of the samples that this process evaluates; every process gets the scores of all. It excludes `partial`.

    Returns:
        Scores of all methods, in their order.

    Raises:
        UserError: out of memory; names the method, the images and the remedy.
    """
    build = distribution_metrics or tuple
    distribution = {name: [metric.to(device) for metric in build()] for name in methods}
    done = 0 if partial is None else partial.count() if distribution_metrics is None else partial.restore_metrics(distribution)
    samples = {name: [] if partial is None else partial.samples(name, range(done)) for name in methods}
    if partial is not None and done:
        print(f"Resumes after {done:,} samples that an interrupted evaluation left in {partial.path}")
        _mark_left_out(loader.dataset, partial.left_out(done))
    total = None if shard.world > 1 else _num_samples(loader)
    bar: tqdm[Any] = progress_bar(description="evaluation", unit="image", total=total, initial=done, disable=not shard.is_first)
    evaluated = list(range(done))
    with bar:
        for numbers, batch in _numbered_batches(loader, done, shard):
            evaluated += numbers
            image, mask = to_device(batch, device)
            for name, method in methods.items():
                if partial is not None and not distribution[name] and partial.has(name, numbers):
                    samples[name] += partial.samples(name, numbers)
                    continue
                prediction, scored = _complete_and_score(name, method, protocol, batch["name"], image, mask)
                samples[name] += scored
                if partial is not None:
                    partial.add(name, done, numbers, scored)
                if distribution[name]:
                    completed, target = round_uint8(composite(image, prediction, mask)), round_uint8(image)
                    for metric in distribution[name]:
                        metric.update(completed, target)
            bar.update(numbers[-1] + 1 - done)
            done = numbers[-1] + 1
            if partial is not None and distribution_metrics is not None:
                partial.save_metrics(distribution, done)
    samples = shard.collect(evaluated, samples, loader.dataset)
    if not any(samples.values()):
        raise UserError(_none_readable(loader.dataset))
    any_samples = next(iter(samples.values()), [])
    names = [sample.name for sample in any_samples]
    return EvaluationResult(
        protocol,
        names,
        _image_names(loader.dataset, names),
        torch.tensor([sample.mask_ratio for sample in any_samples], dtype=torch.float64),
        {
            name: torch.tensor([sample.scores for sample in found], dtype=torch.float64).view(-1, len(protocol.metrics))
            for name, found in samples.items()
        },
        {
            name: distribution_scores(protocol, metrics, _means(protocol, samples[name]))
            for name, metrics in distribution.items()
        },
    )


def prepare_samples(data: InpaintingData, split: Literal["val", "test"], protocol: Protocol) -> DataLoader[Any]:
    """Set up the data of a split and return its loader; raises what `set_up` raises."""
    set_up(data, "validate" if split == "val" else "test", (protocol,))
    return data.val_dataloader() if split == "val" else data.test_dataloader()


def set_up(data: InpaintingData, stage: Literal["fit", "validate", "test"], protocols: Sequence[Protocol]) -> None:
    """Set up the data of a stage, and check that its evaluation images are large enough for all metrics.

    Args:
        data: the data module.
        stage: as in `data.setup`.
        protocols: the images of the stage are evaluated by these.

    Raises:
        UserError: data is missing, or images are too small for a metric; squares are checked before any file is listed.
    """
    square = data.val_transform.square
    for protocol in protocols if square else ():
        protocol.require_size(data.size)
    data.prepare_data()
    data.setup(stage)
    for protocol in () if square else protocols:
        protocol.require_size(*data.min_side("test" if stage == "test" else "val"))


def complete_batch(method: Method, names: Sequence[str], image: Tensor, mask: Tensor) -> Tensor:
    """Complete the samples called `names` by a method, (B, 3, H, W)."""
    return method.complete(names, image, mask) if isinstance(method, ExternalResults) else method(image, mask)


def apply_subsampling(protocol: Protocol, method: Completion) -> Completion:
    """Wrap `method` so that images larger than the protocol's `subsample_size` are subsampled."""
    size = protocol.subsample_size
    if size is None:
        return method

    def complete(image: Tensor, mask: Tensor) -> Tensor:
        return complete_subsampled(method, image, mask, size) if max(image.shape[-2:]) > size else method(image, mask)

    return complete


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image and mask of a batch, on `device`, as floats."""
    moved = as_floats({**batch, "image": batch["image"].to(device), "mask": batch["mask"].to(device)})
    return moved["image"], moved["mask"]


def _num_samples(loader: DataLoader[Any]) -> int | None:
    return len(cast(Any, loader.sampler)) if loader.batch_size else None


def _numbered_batches(loader: DataLoader[Any], done: int, shard: Shard) -> Iterator[tuple[Sequence[int], Batch]]:
    """Yield the batches of this process after the first `done` samples, each with the numbers of its samples.

    Numbers are missing where an `EvalDataset` leaves samples out.
    """
    dataset: Any = loader.dataset
    numbers: Iterator[int] = count(done)
    if done or shard.world > 1:
        own = shard.numbers(dataset, done)
        remaining, numbers = Subset(dataset, own), iter(own)
        collate_fn: Any = loader.collate_fn
        loader = DataLoader(remaining, loader.batch_size, num_workers=loader.num_workers, collate_fn=collate_fn)
    if isinstance(dataset, EvalDataset):
        # The dataset marks a sample that it leaves out before the loader delivers the batch without it.
        numbers = filterfalse(dataset.left_out.__getitem__, shard.numbers(dataset, done))
    for batch in filter(None, loader):
        yield list(islice(numbers, len(batch["name"]))), batch


def _mark_left_out(dataset: object, numbers: Sequence[int]) -> None:
    """Mark the samples that an interrupted evaluation left out."""
    if isinstance(dataset, EvalDataset):
        dataset.left_out[list(numbers)] = True


def _none_readable(dataset: object) -> str:
    where = f", from {dataset.store.source.location(0)} on" if isinstance(dataset, EvalDataset) else ""
    return f"none of the images can be read{where}; `python -m lit_inpaint.prepare --check_only` names the reason for each"


def _complete_and_score(
    name: str, method: Method, protocol: Protocol, sample_names: Sequence[str], image: Tensor, mask: Tensor
) -> tuple[Tensor, list[SampleScore]]:
    """Complete a batch by one method: its prediction, and the scores of each sample."""
    try:
        prediction = complete_batch(method, sample_names, image, mask)
        scores = torch.stack(list(score(protocol, image, prediction, mask).values()), dim=1).tolist()
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "not enough memory" not in str(error):  # the latter on a CPU
            raise
        raise _out_of_memory(name, sample_names, image) from None
    mask_ratios = mask.double().mean(dim=(1, 2, 3)).tolist()
    return prediction, [SampleScore(*sample) for sample in zip(sample_names, mask_ratios, scores, strict=True)]


def _out_of_memory(method: str, sample_names: Sequence[str], image: Tensor) -> UserError:
    height, width = image.shape[-2:]
    if len(sample_names) == 1:
        images = f"{sample_names[0]}, {width}x{height} pixels"
        transform = f"{{class_path: lit_inpaint.data.NativeSize, init_args: {{max_size: {max(height, width) // 2}}}}}"
        remedy = f"shrink such images, --data.val_transform '{transform}', or crop squares, --data.size 256"
    else:
        images = f"{len(sample_names)} images of {width}x{height} pixels"
        remedy = "set a smaller --data.batch_size or --data.size"
    return UserError(f"not enough memory on {image.device} for {method} to complete {images}; {remedy}")


def _image_names(dataset: object, sample_names: Sequence[str]) -> list[str]:
    """The image of each sample: its name without the suffixes that `EvalDataset` added for mask source and crop.

    A file's own name may end like such a suffix.
    """
    names = list(sample_names)
    if isinstance(dataset, EvalDataset) and len(dataset.masks) > 1:
        names = [name.rpartition(" #")[0] for name in names]
    if isinstance(dataset, EvalDataset) and dataset.crops > 1:
        names = [name.rpartition(" @")[0] for name in names]
    return names


def _means(protocol: Protocol, samples: Sequence[SampleScore]) -> dict[str, float]:
    """Mean of each metric over all samples, by name."""
    scores = torch.tensor([sample.scores for sample in samples], dtype=torch.float64).view(-1, len(protocol.metrics))
    return dict(zip((metric.name for metric in protocol.metrics), scores.mean(dim=0).tolist(), strict=True))
