"""Find the worst and best validation samples by PSNR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from lit_inpaint.data.inpainting_dataset import EvalDataset
from lit_inpaint.evaluation.evaluator import evaluate
from lit_inpaint.metrics import LPI
from lit_inpaint.types import as_floats, composite
from lit_inpaint.visualization.grids import overlay_mask

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from lit_inpaint.engine.inpainter import Inpainter


class Example(NamedTuple):
    """One validation sample.

    Attributes:
        name: of the image.
        scores: metrics by name; "mask_ratio" in [0, 1].
        masked: input image with white holes.
        output: raw output, clamped.
        composite: known pixels of the target, hole pixels of the output.
        target: complete image.
    """

    name: str
    scores: dict[str, float]
    masked: Image.Image
    output: Image.Image
    composite: Image.Image
    target: Image.Image


class Gallery(NamedTuple):
    """Examples of one run.

    Attributes:
        worst: ascending PSNR.
        best: descending PSNR.
        note: how they were chosen.
    """

    worst: Sequence[Example]
    best: Sequence[Example]
    note: str


def worst_and_best(examples: Sequence[Example], count: int) -> tuple[list[Example], list[Example]]:
    """At most `count` examples from each end by PSNR, the extreme ones first; none is in both. NaN is the worst."""
    ordered = sorted(examples, key=lambda example: (not math.isnan(psnr := example.scores["psnr"]), psnr))
    count = min(count, len(ordered) // 2)
    return ordered[:count], ordered[len(ordered) - count :][::-1]


def evaluate_examples(
    model: Inpainter, loader: DataLoader[Any], count: int, device: torch.device
) -> tuple[list[Example], list[Example], int]:
    """Evaluate a validation set and return its extremes by PSNR of the composite; NaN is the worst.

    Args:
        model: on `device`, in evaluation mode.
        loader: batches of images and masks, in the order of its data set.
        count: examples at each end.
        device: of the batches.

    Returns:
        The worst, the best, and the number of samples. If there are fewer than 2 `count`, the worst come first.
    """
    result = evaluate({"model": model.predict}, loader, LPI, device)
    scores = {metric.name: result.scores["model"][:, column] for column, metric in enumerate(LPI.metrics)}
    scores["mask_ratio"] = result.mask_ratios
    order = scores["psnr"].nan_to_num(-torch.inf, torch.inf, -torch.inf).argsort(stable=True).tolist()

    dataset = loader.dataset
    numbers = dataset.evaluated() if isinstance(dataset, EvalDataset) else range(len(order))

    @torch.no_grad()
    def example(index: int) -> Example:
        batch = as_floats(cast(Any, loader.collate_fn)([loader.dataset[numbers[index]]]))
        image, mask = batch["image"].to(device), batch["mask"].to(device)
        output = model.predict(image, mask).float().clamp(0, 1)
        stages = overlay_mask(image, mask), output, composite(image, output, mask), image
        images = (to_pil_image(stage[0].nan_to_num().mul(255).round().byte().cpu()) for stage in stages)
        return Example(batch["name"][0], {name: float(values[index]) for name, values in scores.items()}, *images)

    best = order[count:][-count:]
    return [example(index) for index in order[:count]], [example(index) for index in reversed(best)], len(order)
