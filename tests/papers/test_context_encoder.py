"""Context Encoder against the public code's outputs, its losses by hand, the masks it takes, and images of other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import parity_fixtures as parity
import pytest
import torch
from tiny_gan import Outputs, loader, make_trainer
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, leaky_relu

import lit_inpaint
from lit_inpaint.engine.any_size import resize_bicubic
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Boxes, Center
from lit_inpaint.nets.cpu.layer_swap import use_fast_cpu_layers
from lit_inpaint.papers import ContextEncoder
from lit_inpaint.papers.context_encoder import Weights
from lit_inpaint.settings import Adam
from lit_inpaint.types import Batch, Prediction, composite


def make(**arguments: Any) -> ContextEncoder:
    torch.manual_seed(0)
    small = {"size": 32, "overlap": 2, "width": 4, "bottleneck": 16, "discriminator_width": 4}
    return ContextEncoder(**{**small, **arguments})


def center(size: int, side: int, batch: int = 2) -> Tensor:
    return Center(side)((size, size), torch.Generator()).expand(batch, 1, size, size)


@pytest.fixture
def centers(batch: Batch) -> Batch:
    return {**batch, "mask": center(32, 12)}


# Networks -------------------------------------------------------------------------------------------------------------------


def test_parameter_counts() -> None:
    with torch.device("meta"):
        model = ContextEncoder()
    assert [sum(p.numel() for p in net.parameters()) for net in (model.generator, model.discriminator)] == [
        71_124_544,
        2_765_568,
    ]


def official(name: str) -> dict[str, Tensor]:
    return parity.fill_roles(parity.metadata(name)["state"], parity.metadata(name)["gain"])


def test_parity_with_the_public_networks() -> None:
    """Generator, with and without the fast layers, and discriminator; weights that do not fit."""
    with torch.device("meta"):
        model = ContextEncoder()
    fill_color, inner, whole = (ContextEncoder(width=1, bottleneck=1).get_buffer(n) for n in ("fill_color", "inner", "center"))
    model.to_empty(device="cpu").eval()
    model.fill_color, model.inner, model.center = fill_color, inner, whole
    state, of_discriminator = official("context_encoder"), official("context_encoder_disc")
    assert model.load_official(state, of_discriminator) == []
    image, stored = parity.image(128), parity.arrays("context_encoder")
    stages: dict[str, Tensor] = {}
    for name in ("16", "26"):
        model.generator[int(name)].register_forward_hook(lambda m, a, y, name=name: stages.update({name: y}))
    for fast in (False, True):
        if fast:
            use_fast_cpu_layers(model)
            model.to(memory_format=torch.channels_last)
        with torch.no_grad():
            output = 2 * model(image, center(128, 56, 1)).image[..., 32:96, 32:96] - 1
        assert parity.worst_crop(output, stored, "output") < 2e-5
        for name, features in stages.items():
            assert parity.worst_crop(features, stored, f"stage:main.{name}") < 2e-5, name
    stored = parity.arrays("context_encoder_disc")
    with torch.no_grad():
        found = model.discriminator(2 * image[..., 32:96, 32:96] - 1).sigmoid()
    assert abs(float(found) - float(stored["output_crop"][0])) < 2e-5
    with pytest.raises(UserError, match=r"generator; missing, unknown or of another shape are 1 weights: 29.weight"):
        model.load_official({n: v for n, v in state.items() if n != "main.29.weight"})
    with pytest.raises(UserError, match=r"discriminator; .* 1 weights: netD.weight"):
        model.load_official(state, {**of_discriminator, "netD.weight": torch.ones(1)})


@pytest.mark.parametrize("size", [16, 32, 64])
def test_networks_by_hand(size: int) -> None:
    """In training mode, double precision: the same pattern at each size."""
    model = make(size=size).double()
    rng = torch.Generator().manual_seed(1)
    image, mask = torch.rand(3, 3, size, size, generator=rng).double(), center(size, size // 2 - 4, 3).double()
    color = torch.tensor([117, 104, 123]).view(1, 3, 1, 1) / 255
    p = dict(model.generator.named_parameters())

    def norm(x: Tensor, name: str, p: dict[str, Tensor]) -> Tensor:
        return batch_norm(x, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)

    emptied = image * (1 - mask) + color * mask
    kernels = [name for name, value in p.items() if value.ndim == 4]
    levels = (len(kernels) - 1) // 2
    x = leaky_relu(conv2d(2 * emptied - 1, p[kernels[0]], None, 2, 1), 0.2)
    for number, name in enumerate(kernels[1:-1], start=1):
        index = int(name.split(".")[0])
        if number <= levels:
            x = conv2d(x, p[name], None, *((1, 0) if number == levels else (2, 1)))
            x = leaky_relu(norm(x, str(index + 1), p), 0.2)
            assert x.shape[-1] == (1 if number == levels else size // 2 ** (number + 1))
        else:
            x = conv_transpose2d(x, p[name], None, *((1, 0) if number == levels + 1 else (2, 1)))
            x = norm(x, str(index + 1), p).clamp(min=0)
    output = (conv_transpose2d(x, p[kernels[-1]], None, 2, 1).tanh() + 1) / 2
    expected, quarter = emptied.clone(), size // 4
    expected[..., quarter:-quarter, quarter:-quarter] = output
    torch.testing.assert_close(model(image, mask).image, expected, rtol=1e-6, atol=1e-6)

    d = dict(model.discriminator.named_parameters())
    kernels = [name for name, value in d.items() if value.ndim == 4]
    x = leaky_relu(conv2d(image[..., : size // 2, : size // 2], d[kernels[0]], None, 2, 1), 0.2)
    for name in kernels[1:-1]:
        x = leaky_relu(norm(conv2d(x, d[name], None, 2, 1), str(int(name.split(".")[0]) + 1), d), 0.2)
    expected = conv2d(x, d[kernels[-1]]).view(3, 1)
    torch.testing.assert_close(model.discriminator(image[..., : size // 2, : size // 2]), expected)


def test_initial_weights() -> None:
    model = make(width=16, bottleneck=64)
    kernels = torch.cat([p.flatten() for p in model.parameters() if p.ndim == 4])
    scales = torch.cat([m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert float(kernels.std()) == pytest.approx(0.02, rel=0.02)
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.3)


# Masks and sizes --------------------------------------------------------------------------------------------------------------


def test_masks_outside_the_center_are_one_line() -> None:
    model = make().eval()
    image = torch.rand(2, 3, 32, 32)
    for mask in (center(32, 18), Boxes()((32, 32), torch.Generator().manual_seed(0)).expand(2, 1, 32, 32)):
        with pytest.raises(
            UserError, match=r"fills only the central 16x16 of 32x32 pixels, and a mask has holes outside.*Center"
        ):
            model(image, mask)
    with pytest.raises(UserError, match=r"takes 32x32 images in training, and these are 64x64; set --data.size 32"):
        make()(torch.rand(2, 3, 64, 64), center(64, 8, 2))
    for size in (8, 96):
        with pytest.raises(UserError, match=f"size is {size}; it takes powers of 2"):
            make(size=size)
    with pytest.raises(UserError, match="overlap is 8; it takes 0 to 7 pixels at size 32"):
        make(overlap=8)


def test_any_mask_within_the_center_is_filled() -> None:
    model = make().eval()
    image, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 9:13, 20:24] = 1
    completed = model.complete(image, mask)
    hole = mask.expand_as(image) > 0.5
    assert torch.equal(completed[~hole], image[~hole])
    assert not torch.equal(completed[hole], image[hole])
    assert torch.equal(model.complete(image, 0 * mask), image)
    assert not torch.equal(model.complete(image, center(32, 16, 1)), model.complete(image, center(32, 12, 1))), (
        "the frame is an input"
    )


@pytest.mark.parametrize("size", [(64, 64), (48, 40), (37, 53)])
def test_images_of_other_sizes_are_resized(size: tuple[int, int]) -> None:
    model, image = make().eval(), torch.rand(1, 3, *size)
    mask = torch.zeros(1, 1, *size)
    top, left = size[0] // 4 + 1, size[1] // 4 + 1
    mask[..., top : size[0] - top, left : size[1] - left] = 1
    completed = model.complete(image, mask)
    assert torch.equal(completed * (1 - mask), image * (1 - mask))
    assert torch.equal(model.complete(image * (1 - mask), mask), completed * mask + image * (1 - mask) * (1 - mask))
    with pytest.raises(UserError, match="holes outside"):
        model.complete(image, torch.ones(1, 1, *size))
    thin = mask.clone()
    thin[..., 3, :] = 1  # of which nothing is left at the size of the network
    with pytest.raises(UserError, match="holes outside"):
        model.complete(image, thin)


def test_twice_the_size_is_the_network_of_half_the_image() -> None:
    model, image, mask = make().eval(), torch.rand(1, 3, 64, 64), center(64, 32, 1)
    small = resize_bicubic(torch.where(mask > 0.5, model.fill_color, image), (32, 32))
    with torch.no_grad():
        expected = resize_bicubic(model(small, center(32, 16, 1)).image, (64, 64))
    assert torch.equal(model.complete(image, mask), composite(image, expected, mask))


# Losses and training --------------------------------------------------------------------------------------------------------


def test_losses(centers: Batch) -> None:
    model = make().eval()
    output = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = model.generator_losses(centers, Prediction(output))
        d_losses = model.discriminator_losses(centers, Prediction(output))
        fake, real = (model.discriminator(2 * x[..., 8:24, 8:24] - 1).sigmoid() for x in (output, centers["image"]))
    total = 0.0
    for row in range(8, 24):
        for column in range(8, 24):
            weight = 1 if 10 <= row < 22 and 10 <= column < 22 else 10
            error = 2 * (output - centers["image"])[..., row, column]
            total += weight * float(error.square().sum())
    assert float(found["reconstruction"]) == pytest.approx(total / (2 * 3 * 16 * 16), rel=1e-5)  # type: ignore[arg-type]
    torch.testing.assert_close(found["adversarial"](), -fake.log().mean())  # type: ignore[operator]
    torch.testing.assert_close(d_losses["real"], -real.log().mean())
    torch.testing.assert_close(d_losses["fake"], -(1 - fake).log().mean())


def test_settings() -> None:
    model = make()
    assert model.weights == Weights(reconstruction=0.999, adversarial=0.001, real=1.0, fake=1.0)
    assert model.generator_optimizer == Adam(lr=2e-3, betas=(0.5, 0.999))
    assert model.discriminator_optimizer == Adam(lr=2e-4, betas=(0.5, 0.999))
    assert [stage.update for stage in model.stages()] == ["alternating"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains(precision: str, centers: Batch) -> None:
    model, log = make(), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(2, log, precision=precision).fit(model, loader([centers] * 2))
    assert {name for name, p in model.named_parameters() if not torch.equal(p, before[name])} == before.keys()
    row = {name: float(value) for name, value in log.seen[0].items()}
    assert row["generator"] == pytest.approx(0.999 * row["reconstruction"] + 0.001 * row["adversarial"])
    assert row["discriminator"] == pytest.approx(row["real"] + row["fake"])


def test_one_image_cannot_train_batch_norm(centers: Batch) -> None:
    with pytest.raises(UserError, match=r"batch norm cannot learn from one image.*--data.batch_size"):
        make()(centers["image"][:1], centers["mask"][:1])


def test_checkpoints(tmp_path: Path, centers: Batch) -> None:
    model, trainer = make(overlap=3, fill_color=(0.1, 0.2, 0.3)), make_trainer(1)
    trainer.fit(model, loader([centers]))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = lit_inpaint.load(tmp_path / "x.ckpt")
    image, mask = centers["image"], centers["mask"]
    assert torch.equal(again.complete(image, mask), model.eval().complete(image, mask))


def test_overfits_one_batch() -> None:
    y, x = torch.meshgrid(*[torch.linspace(0, 3, 32)] * 2, indexing="ij")
    waves = [0.5 + 0.4 * torch.sin(k * x + (k + c) * y) for k in (1, 2, 3, 4) for c in range(3)]
    image, mask = torch.stack(waves).view(4, 3, 32, 32), center(32, 12, 4)
    model = make(width=16, bottleneck=32, discriminator_width=8)
    batch = Batch(image=image, mask=mask, name=list("abcd"))
    make_trainer(150).fit(model, loader([batch] * 150))
    with torch.no_grad():
        error = (composite(image, model.train()(image, mask).image, mask) - image).square().mean()
    assert float(-10 * error.log10()) > 30


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write context_encoder`."""
    expected, found = golden.read("context_encoder"), golden.measure("context_encoder")
    assert found.keys() == expected.keys() == {"reconstruction", "adversarial", "real", "fake", "generator", "discriminator"}
    for term, values in found.items():
        assert values == pytest.approx(expected[term], rel=1e-3), term
