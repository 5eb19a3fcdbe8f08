"""Check before a run that its batches fit the networks: the sides of the images, and the number of values of batch norms."""

from __future__ import annotations

import copy
import re
import warnings
from typing import Any

import torch
from torch import nn

from lit_inpaint.engine.freezing import find_modules
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.engine.training_stages import StageSpan
from lit_inpaint.errors import UserError
from lit_inpaint.types import Batch

_TOO_SMALL = re.compile(
    "Kernel size can't be greater than actual input size|Padding size should be less than|Output size is too small|"
    "input and output sizes should be greater than 0|negative dimension|needs images of at least",
    re.IGNORECASE,
)
_ONE_VALUE = "Expected more than 1 value per channel when training"
_SIDES = (16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512)


def check_shapes(model: Inpainter, size: int, batch_size: int, max_steps: int = -1) -> None:
    """Run the forward pass and the losses of each stage on tensors that have shapes but no values.

    Args:
        model: the paper; it is not changed.
        size: side of the training images in pixels.
        batch_size: samples of a batch in one process.
        max_steps: batches of the run; stages that begin later are not checked. -1: all stages are.

    Raises:
        UserError: the images are too small for a network, a batch norm gets one value per channel, or the paper rejects the
            images. Other errors are left to the run.
    """
    accumulate = max(getattr(model.training_settings, f"accumulate_{player}") for player in model.players)
    samples = max(1, batch_size // accumulate)
    name, error = type(model).__name__, _first_error(model, size, samples, max_steps)
    if isinstance(error, UserError):
        raise error
    if error is not None and _ONE_VALUE in str(error):
        raise UserError(
            f"{name} has a batch norm that gets one value per channel from {samples} image{'s' * (samples > 1)} of {size}x"
            f"{size} pixels; set --data.batch_size {2 * accumulate} or more"
        )
    if error is not None:
        larger = (side for side in _SIDES if side > size and _first_error(model, side, samples, max_steps) is None)
        least = next(larger, None)
        remedy = f"set --data.size {least} or more" if least else "set a larger --data.size"
        raise UserError(f"images of {size}x{size} pixels are too small for the networks of {name} in training; {remedy}")


def _first_error(model: Inpainter, size: int, samples: int, max_steps: int) -> Exception | None:
    """Return the first error in the stages of a run that is about the images or their number."""
    with torch.random.fork_rng(devices=()), torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, mask = torch.zeros(samples, 3, size, size), torch.zeros(samples, 1, size, size)
        batch = Batch(image=image, mask=mask, name=[""] * samples)
        if model.edge_detector is not None:
            batch["edges"] = mask
        paper = _copy_to_meta(model)
        begin = 0
        for number, stage in enumerate(paper.stages()):
            if 0 <= max_steps <= begin:
                return None
            paper.train()
            for module in find_modules(paper, (*stage.frozen, *stage.eval_modules)):
                module.eval()
            paper._current_span = StageSpan(stage, number, begin, None)
            begin += stage.iterations or 0
            try:
                prediction = paper.training_forward(batch)
            except Exception as error:
                if _is_about_images(error):
                    return error
                continue
            losses = {"generator": paper.generator_losses, "discriminator": paper.discriminator_losses}
            for player in stage.players:
                try:
                    losses[player](batch, prediction.detach())
                except Exception as error:
                    if _is_about_images(error):
                        return error
    return None


def _is_about_images(error: Exception) -> bool:
    """Return whether real tensors would give the error too; a paper may do what tensors without values cannot."""
    return isinstance(error, UserError) or _ONE_VALUE in str(error) or bool(_TOO_SMALL.search(str(error)))


def _copy_to_meta(model: Inpainter) -> Inpainter:
    """Copy a paper with tensors that have shapes only, so the copy takes no memory."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo)
