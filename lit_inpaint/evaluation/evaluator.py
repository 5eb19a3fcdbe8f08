"""Methods scored on the same samples under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from lit_inpaint.data.inpainting_dataset import EvalDataset
from lit_inpaint.engine.any_size import complete_subsampled
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.partial_results import PartialResults, SampleScore
from lit_inpaint.metrics import (
    DistributionMetrics,
    DistributionScore,
    EvaluationResult,
    Protocol,
    round_uint8,
    score,
)
from lit_inpaint.types import Batch, as_floats, composite
from lit_inpaint.visualization.progress_bar import progress_bar

Method = Callable[[Tensor, Tensor], Tensor]
"""Image (B, 3, H, W) in [0, 1] and mask (B, 1, H, W), 1 = hole, to the completed image or a raw prediction of it."""


@torch.no_grad()
def evaluate(
    methods: Mapping[str, Method],
    loader: DataLoader[Any],
    protocol: Protocol,
    device: torch.device,
    of_sets: DistributionMetrics | None = None,
    unfinished: PartialResults | None = None,
) -> EvaluationResult:
    """Score every method on every sample of `loader`.

    Args:
        methods: what fills the holes, by the name its rows carry; a network must already be on `device`.
        loader: batches of complete images and their masks, in the same order at each start.
        protocol: what is measured.
        device: where batches go.
        of_sets: makes the measures of all samples together; each method gets its own.
        unfinished: where scores are kept on the way, and what an interrupted evaluation left there. Not together with
            `of_sets`, whose features it does not hold.

    Returns:
        The scores of all methods, in their order.
    """
    if unfinished is not None and of_sets is not None:
        raise ValueError("an evaluation with measures of sets cannot be continued")
    measured = {name: of_sets() if of_sets else () for name in methods}
    for measures in measured.values():
        for measure in measures:
            measure.to(device)
    found: dict[str, list[SampleScore]] = {name: [] for name in methods}
    done = unfinished.count() if unfinished is not None else 0
    for place in range(done):
        for name in methods:
            found[name].append(cast(PartialResults, unfinished).sample(name, place))
    total = len(cast(Any, loader.sampler)) if loader.batch_size else None
    with _bar(total, done) as bar:
        for batch in _rest(loader, done):
            first, count = done, len(batch["name"])
            image, mask = to_device(batch, device)
            shares = mask.double().mean(dim=(1, 2, 3)).tolist()
            for name, method in methods.items():
                if unfinished is not None and unfinished.has(name, first, count):
                    found[name] += [unfinished.sample(name, place) for place in range(first, first + count)]
                    continue
                try:
                    prediction = method(image, mask)
                    values = torch.stack(list(score(protocol, image, prediction, mask).values()), dim=1).tolist()
                except RuntimeError as error:
                    if not _of_memory(error):
                        raise
                    raise _too_large(name, batch["name"], image) from None
                samples = [SampleScore(*line) for line in zip(batch["name"], shares, values, strict=True)]
                found[name] += samples
                if unfinished is not None:
                    unfinished.add(name, first, samples)
                if measured[name]:
                    completed, target = round_uint8(composite(image, prediction, mask)), round_uint8(image)
                    for measure in measured[name]:
                        measure.update(completed, target)
            done += count
            bar.update(count)
    either = next(iter(found.values()), [])
    names = [sample.name for sample in either]
    width = len(protocol.metrics)
    return EvaluationResult(
        protocol,
        names,
        _pictures(loader.dataset, names),
        torch.tensor([sample.share for sample in either], dtype=torch.float64),
        {
            name: torch.tensor([sample.scores for sample in samples], dtype=torch.float64).view(-1, width)
            for name, samples in found.items()
        },
        {name: [_set_score(measure) for measure in measures] for name, measures in measured.items()},
    )


def _of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)  # the latter on a CPU


def _too_large(method: str, names: Sequence[str], image: Tensor) -> UserError:
    height, width = image.shape[-2:]
    what = f"{names[0]}, {width}x{height} pixels" if len(names) == 1 else f"{len(names)} images of {width}x{height} pixels"
    mend = (
        f"shrink such images, --data.val_transform '{{class_path: lit_inpaint.data.NativeSize, init_args: {{max_size: "
        f"{max(height, width) // 2}}}}}', or make squares of them, --data.size 256"
        if len(names) == 1
        else "give a smaller --data.batch_size or --data.size"
    )
    return UserError(f"not enough memory on {image.device} for {method} to complete {what}; {mend}")


def apply_subsampling(protocol: Protocol, method: Method) -> Method:
    """`method` as the protocol shows images to it: taken apart where they are larger than what it sub-samples to."""
    side = protocol.subsample
    if side is None:
        return method

    def fill(image: Tensor, mask: Tensor) -> Tensor:
        return complete_subsampled(method, image, mask, side) if max(image.shape[-2:]) > side else method(image, mask)

    return fill


def _set_score(measure: Any) -> DistributionScore:
    value = float(measure.compute())
    spread = getattr(measure, "spread", None)
    counts = measure.total, measure.total_different
    return DistributionScore(measure.label, measure.unit, measure.higher_is_better, value, *counts, spread, measure.remark)


def _pictures(dataset: object, names: Sequence[str]) -> list[str]:
    """Which picture each sample shows: its name without the mask source and the view, where `EvalDataset` added these.

    A file's own name may well end like one of them.
    """
    if isinstance(dataset, EvalDataset) and len(dataset.masks) > 1:
        names = [name.rpartition(" #")[0] for name in names]
    if isinstance(dataset, EvalDataset) and dataset.crops > 1:
        names = [name.rpartition(" @")[0] for name in names]
    return list(names)


def _bar(total: int | None, done: int) -> tqdm[Any]:
    return progress_bar(description="evaluation", unit="image", total=total, initial=done)


def _rest(loader: DataLoader[Any], done: int) -> DataLoader[Any]:
    """The samples from number `done` on."""
    if not done:
        return loader
    rest = Subset(loader.dataset, range(done, len(cast(Any, loader.dataset))))
    return DataLoader(rest, loader.batch_size, num_workers=loader.num_workers, collate_fn=loader.collate_fn)


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image and mask of a batch, on `device`, as floats."""
    moved = as_floats({**batch, "image": batch["image"].to(device), "mask": batch["mask"].to(device)})
    return moved["image"], moved["mask"]
