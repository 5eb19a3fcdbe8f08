"""The U-Net against its description, its parameter count, and the losses and stages of all experiments of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import torch
from skimage import data
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, interpolate

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr, ssim
from lit_inpaint.papers import UNet
from lit_inpaint.papers.unet import Weights
from lit_inpaint.settings import SGD, AdamW, Stage
from lit_inpaint.types import Batch


def make(**arguments: Any) -> UNet:
    """Build a network of an eighth of the widths, with three levels."""
    torch.manual_seed(0)
    return UNet(**{"widths": (8, 16, 32), **arguments})


def test_parameter_count() -> None:
    found = sum(p.numel() for p in UNet().generator.parameters())
    assert found == 12_006_787
    assert round(found / 1e6) == 12


def test_five_down_and_five_up() -> None:
    """Appendix A."""
    generator, sizes = UNet().generator, list[int]()
    down = [layer for layer in generator.modules() if isinstance(layer, nn.Conv2d)]
    up = [layer for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert [(c.in_channels, c.out_channels, c.stride) for c in down] == [
        (*widths, (2, 2)) for widths in [(4, 64), (64, 128), (128, 256), (256, 512), (512, 768)]
    ]
    assert [(c.in_channels, c.out_channels, c.stride) for c in up] == [
        (*widths, (2, 2)) for widths in [(768, 512), (1024, 256), (512, 128), (256, 64), (128, 3)]
    ]
    for layer in (*down, *up):
        layer.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        generator.eval()(torch.zeros(1, 3, 96, 96), torch.zeros(1, 1, 96, 96))
    assert sizes == [48, 24, 12, 6, 3, 6, 12, 24, 48, 96]


def test_network_by_hand(batch: Batch) -> None:
    model = make().double()
    p = {name: value.detach() for name, value in model.generator.named_parameters()}

    def finish(x: Tensor, name: str) -> Tensor:
        return batch_norm(x, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True).clamp(min=0)

    image, mask = batch["image"].double(), batch["mask"].double()
    x, skips = torch.cat([image * (1 - mask), mask], dim=1), []
    for number in range(3):
        x = finish(conv2d(x, p[f"down.{number}.0.weight"], p[f"down.{number}.0.bias"], 2, 1), f"down.{number}.1")
        skips.append(x)
    for number in range(2):
        x = finish(conv_transpose2d(x, p[f"up.{number}.0.weight"], p[f"up.{number}.0.bias"], 2), f"up.{number}.1")
        x = torch.cat([x, skips[1 - number]], dim=1)
    expected = conv_transpose2d(x, p["to_rgb.weight"], p["to_rgb.bias"], 2)
    with torch.no_grad():
        torch.testing.assert_close(model(image, mask).image, expected)


@pytest.mark.parametrize("size", [(32, 32), (48, 96), (37, 53), (5, 12)])
def test_output_shapes(size: tuple[int, int]) -> None:
    with torch.no_grad():
        prediction = make()(torch.rand(2, 3, *size), torch.zeros(2, 1, *size))
    assert prediction.image.shape == (2, 3, *size)
    assert dict(prediction.stages) == {}


def test_padding_is_replicated() -> None:
    model = make().eval()
    image, mask = torch.rand(1, 3, 21, 30), (torch.rand(1, 1, 21, 30) > 0.6).float()
    rows, columns = (torch.arange(side + -side % 8).clamp(max=side - 1) for side in (21, 30))
    with torch.no_grad():
        whole = model(image[:, :, rows][..., columns], mask[:, :, rows][..., columns]).image
        assert torch.equal(model(image, mask).image, whole[..., :21, :30])


@pytest.mark.parametrize("size", [(1, 1), (9, 40), (37, 53), (64, 64)])
def test_complete_takes_any_size(size: tuple[int, int]) -> None:
    image, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.6).float()
    completed = make().eval().complete(image, mask)
    assert completed.shape == image.shape
    assert torch.equal(completed * (1 - mask), image * (1 - mask))
    assert completed.isfinite().all()


@pytest.mark.parametrize("widths", [(), (8, 0)])
def test_impossible_widths(widths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="it takes one or more numbers from 1 on"):
        UNet(widths=widths)


def test_losses(batch: Batch) -> None:
    model = make().double()
    batch = Batch(image=batch["image"].double(), mask=batch["mask"].double(), name=batch["name"])
    image, mask = batch["image"], batch["mask"]
    with torch.no_grad():
        prediction = model(image, mask)
        found = model.generator_losses(batch, prediction)
        complete = prediction.image * mask + image * (1 - mask)
        expected = {"ssim": 1 - ssim(complete, image).mean(), "mae": (complete - image).abs().sum() / image.numel()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        term = found[name]
        assert isinstance(term, Tensor)
        torch.testing.assert_close(term, value, msg=name)
    assert Weights() == Weights(ssim=0.75, mae=0.25)
    assert model.weights == Weights()


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    model = make()
    prediction = model(batch["image"], batch["mask"])
    terms = [term for term in model.generator_losses(batch, prediction).values() if isinstance(term, Tensor)]
    sum(terms[1:], terms[0]).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    assert model.discriminator is None


def test_training_as_in_appendix_a() -> None:
    model = make()
    assert model.generator_optimizer == AdamW(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    assert model.discriminator_optimizer is None
    first, second = model.stages()
    assert (first.epochs, first.generator_optimizer, first.players) == (50, None, ("generator",))
    assert (second.epochs, second.generator_optimizer) == (50, SGD(lr=1e-3, momentum=0.9))
    assert second.players == ("generator",)
    assert model.training_settings.clip_generator is None


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_through_the_engine(precision: str) -> None:
    model, outputs = make(), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(1, outputs, precision=precision).fit(model, loader(make_batches(1, size=32)))
    (seen,) = outputs.seen
    assert seen.keys() == {"ssim", "mae", "generator"}
    torch.testing.assert_close(seen["generator"], 0.75 * seen["ssim"] + 0.25 * seen["mae"])
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())


def test_checkpoints(tmp_path: Path, batch: Batch) -> None:
    model = make()
    trainer = make_trainer(1)
    trainer.fit(model, loader(make_batches(1, size=32)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_inpaint.load(tmp_path / "last.ckpt")
    assert isinstance(again, UNet)
    assert dict(again.hparams) == dict(model.hparams)
    with torch.no_grad():
        found, expected = (m.eval()(batch["image"], batch["mask"]).image for m in (again, model))
    assert torch.equal(found, expected)


def test_overfits_two_images() -> None:
    image = torch.cat([photograph(pixels) for pixels in (data.astronaut(), data.chelsea())])
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["astronaut", "cat"])
    torch.manual_seed(0)
    model = UNet(widths=(16, 32, 64), stages=(Stage(discriminator=False),))
    make_trainer(300).fit(model, loader([batch] * 300))
    assert float(psnr(model.eval().complete(image, mask), image).mean()) > 31


def photograph(pixels: np.ndarray[Any, Any]) -> Tensor:
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    side = min(image.shape[2:])
    return interpolate(image[:, :, :side, :side], size=(32, 32), mode="area")


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("unet"), golden.measure("unet")
    assert found.keys() == expected.keys() == {"ssim", "mae", "generator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term
