"""Every paper trains on the device of its batch, and reads no value from it: a GPU without values, which needs no hardware."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from golden import CURVES, fit_masks
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.losses import ssim
from lit_inpaint.types import Batch

pytestmark = pytest.mark.skipif(
    torch.__version__ < (2, 11), reason="PyTorch 2.8 makes no fake parameters of a network; 2.11 does"
)
ON_FEATURES = ("perceptual", "style", "segmentation_perceptual", "vgg_perceptual")


def on_fake_gpu(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda")


def fake_gradients(outputs: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
    """Stand in for `torch.autograd.grad`, which needs a device that exists."""
    return tuple(torch.zeros_like(x, requires_grad=True) for x in (inputs if isinstance(inputs, tuple | list) else [inputs]))


def losses_of(model: Inpainter, batch: Batch) -> list[Tensor]:
    """Return the losses of both players in the last stage, without those on features of a loss network."""
    stage = model.stages()[-1]
    model._current_span = SimpleNamespace(stage=stage, number=0)  # type: ignore[assignment]
    prediction = model.training_forward(batch)
    assert prediction.image.device.type == "cuda"
    terms = {**model.generator_losses(batch, prediction)}
    if stage.discriminator and model.discriminator is not None:
        terms |= model.discriminator_losses(batch, prediction)
    return [value() if callable(value) else value for name, value in terms.items() if name not in ON_FEATURES]


@pytest.mark.parametrize("name", CURVES)
def test_no_tensor_stays_on_the_cpu_and_none_is_read(name: str, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CURVES[name]()
    batch = fit_masks(name, batch)
    batch["edges"] = batch["mask"]  # the loader detects them on the CPU
    if hasattr(model, "_forwards"):
        model._forwards = 1  # the Context Encoder checks the masks of one batch of many
    ssim._gaussian(11, 1.5)  # its numbers are made on the CPU, once
    monkeypatch.setattr(torch.autograd, "grad", fake_gradients)
    with FakeTensorMode():
        model._apply(on_fake_gpu)
        moved: Any = {key: on_fake_gpu(value) if isinstance(value, Tensor) else value for key, value in batch.items()}
        losses = losses_of(model.train(), moved)
    assert losses
    assert all(loss.device.type == "cuda" for loss in losses)


def test_values_that_are_read_and_tensors_on_the_cpu_are_found(batch: Batch) -> None:
    model = CURVES["context_encoder"]()
    with FakeTensorMode():
        model._apply(on_fake_gpu)
        moved: Any = {key: on_fake_gpu(value) if isinstance(value, Tensor) else value for key, value in batch.items()}
        with pytest.raises(DataDependentOutputException):
            losses_of(model.train(), moved)
        with pytest.raises(RuntimeError, match="device"):
            moved["image"] + torch.ones(2, 3, 32, 32)
