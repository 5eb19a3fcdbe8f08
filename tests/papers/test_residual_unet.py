"""The residual U-Net: count, start, sizes, losses, overfit, golden curve."""

import golden
import pytest
import torch
from skimage import data
from test_unet import photograph
from tiny_gan import loader, make_trainer
from torch import Tensor

from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr, ssim
from lit_inpaint.nets.pull_push import pull_push
from lit_inpaint.papers import ResidualUNet
from lit_inpaint.types import Batch


def make(**arguments: object) -> ResidualUNet:
    """Build a small network."""
    torch.manual_seed(0)
    return ResidualUNet(**{"widths": (8, 16, 32), **arguments})  # type: ignore[arg-type]


def test_parameter_count() -> None:
    """At most 12 MB as float16, with the default widths."""
    assert sum(p.numel() for p in ResidualUNet().generator.parameters()) == 4_455_475


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (1, 1), (5, 12)])
def test_it_starts_as_the_interpolation_of_the_padded_image(size: tuple[int, int]) -> None:
    image, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.6).float()
    with torch.no_grad():
        output = make().eval()(image, mask).image
    assert output.shape == image.shape
    if size == (32, 32):
        torch.testing.assert_close(output, pull_push(image, mask))
    assert torch.equal(output * (1 - mask), image * (1 - mask))


def test_losses(batch: Batch) -> None:
    model = make(vgg="random")
    image, mask = batch["image"], batch["mask"]
    with torch.no_grad():
        prediction = model(image, mask)
        found = model.generator_losses(batch, prediction)
        perceptual = found["perceptual"]
        assert callable(perceptual)
        features = [model.vgg(each) for each in (prediction.image, image)]
        expected = torch.stack([(a - b).abs().mean() for a, b in zip(*features, strict=True)]).sum()
        torch.testing.assert_close(perceptual(), expected)
    l1, structure = found["l1"], found["ssim"]
    assert isinstance(l1, Tensor)
    assert isinstance(structure, Tensor)
    torch.testing.assert_close(l1, ((prediction.image - image).abs() * mask).sum() / image.numel())
    torch.testing.assert_close(structure, 1 - ssim(prediction.image, image).mean().float(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("widths", [(8,), (8, 0)])
def test_impossible_widths(widths: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="it takes two or more numbers from 1 on"):
        ResidualUNet(widths=widths)


def test_overfits_two_images() -> None:
    image = torch.cat([photograph(pixels) for pixels in (data.astronaut(), data.chelsea())])
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["astronaut", "cat"])
    model = make(widths=(16, 32, 64))
    before = float(psnr(model.eval().complete(image, mask), image).mean())
    make_trainer(300).fit(model.train(), loader([batch] * 300))
    after = float(psnr(model.eval().complete(image, mask), image).mean())
    assert before < 25
    assert after > 35


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("residual_unet"), golden.measure("residual_unet")
    assert found.keys() == expected.keys() == {"l1", "ssim", "generator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term
