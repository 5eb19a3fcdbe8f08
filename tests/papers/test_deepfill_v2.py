"""DeepFill v2 against two PyTorch ports of its public code, its counts, and its losses by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import parity_fixtures as parity
import pytest
import torch
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.nets.contextual_attention import patch_attention
from lit_inpaint.papers import DeepFillV2
from lit_inpaint.papers.deepfill_v2 import GatedConv, Weights
from lit_inpaint.settings import Adam
from lit_inpaint.types import Batch, Terms

TOLERANCE = 2e-5
FIXTURES = {"port": "deepfillv2", "port_tf": "deepfillv2_tf"}
FUSE = "stage2.contextual_attention.fuse_weight"


def make(**arguments: Any) -> DeepFillV2:
    """Build a small network with larger weights: its initial ones, halved in each gate, leave little of the image."""
    torch.manual_seed(0)
    model = DeepFillV2(**{"width": 8, "discriminator_width": 8, **arguments})
    with torch.no_grad():
        for name, p in model.generator.named_parameters():
            p.normal_(0, 0.1) if name.endswith("bias") else p.mul_(2.5)
    return model


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def public_weights(fixture: str) -> dict[str, Tensor]:
    metadata = parity.metadata(fixture)
    state = parity.fill_roles([row for row in metadata["state"] if row[0] != FUSE], metadata["gain"])
    return state | ({FUSE: torch.eye(3).view(1, 1, 3, 3)} if metadata.get("constants") else {})


@pytest.fixture(scope="module", params=FIXTURES)
def loaded(request: pytest.FixtureRequest) -> tuple[str, DeepFillV2]:
    """A network with the weights of a fixture, and the fixture's name."""
    name = FIXTURES[request.param]
    model = DeepFillV2(variant=request.param).eval()
    dropped = model.load_official(public_weights(name), public_weights(f"{name}_disc"))
    assert dropped == ([FUSE] if request.param == "port" else [])
    return name, model


# Networks -------------------------------------------------------------------------------------------------------------------


def test_parameter_counts() -> None:
    """The paper's 4.1 M."""
    model = DeepFillV2()
    assert count(model.generator) == 4_052_478
    assert count(model.generator.coarse) == 1_631_151
    assert count(model.discriminator) == 5_946_816


def test_generator_parity(loaded: tuple[str, DeepFillV2]) -> None:
    name, model = loaded
    stored, features = parity.arrays(name), {}

    def keep(_: object, inputs: tuple[Tensor, ...]) -> None:
        features["attention"] = inputs[0]

    handle = model.generator.after_attention.register_forward_pre_hook(keep)
    with torch.no_grad():
        prediction = model(parity.image(256), parity.mask(256))
    handle.remove()
    attention = "stage:stage2.contextual_attention" if name == "deepfillv2" else "stage:contextual_attention"
    outputs = {
        "output": 2 * prediction.image - 1,
        "stage1": 2 * prediction.stages["coarse"] - 1,
        attention: features["attention"],
    }
    for key, output in outputs.items():
        corner = {f"{key}_corner": stored[f"{key}_corner"]} if f"{key}_corner" in stored else {}
        values = {f"{key}_{part}": stored[f"{key}_{part}"] for part in ("crop", "stats", "shape")}
        assert parity.worst_crop(output, values | corner, key) < TOLERANCE, key


def test_discriminator_parity(loaded: tuple[str, DeepFillV2]) -> None:
    name, model = loaded
    stored = parity.arrays(f"{name}_disc")
    with torch.no_grad():
        scores = model.discriminator(torch.cat([2 * parity.image(256) - 1, parity.mask(256)], dim=1)).flatten(1)
    assert scores.shape == tuple(stored["output_shape"])
    assert (scores[0, 2016:2080] - torch.from_numpy(stored["output_crop"])).abs().max() < TOLERANCE
    found = [float(v) for v in (scores.mean(), scores.std(correction=0), scores.abs().sum())]
    assert found == pytest.approx(stored["output_stats"].tolist(), rel=1e-4)


def test_gated_conv_by_hand() -> None:
    layer, x = GatedConv(2, 3, 3, 1, 2, "same").double(), torch.rand(1, 2, 8, 8, dtype=torch.float64)
    a = nn.functional.conv2d(x, layer.conv.conv.weight[:3], layer.conv.conv.bias[:3], padding=2, dilation=2)
    g = nn.functional.conv2d(x, layer.conv.conv.weight[3:], layer.conv.conv.bias[3:], padding=2, dilation=2)
    expected = torch.where(a > 0, a, a.exp() - 1) / (1 + (-g).exp())
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("variant", ["paper", "official", "port", "port_tf"])
def test_masks_of_the_attention(variant: Any, batch: Batch) -> None:
    """In training the first mask of the batch counts in all variants but the paper's; outside it, each sample's own."""
    model = make(variant=variant).double()
    image, mask = batch["image"].double(), batch["mask"].double()
    for training in (True, False):
        model.train(training)
        with torch.no_grad():
            together = model(image, mask).image
            alone = torch.cat([model(image[n : n + 1], mask[n : n + 1]).image for n in range(2)])
        assert torch.allclose(together[0], alone[0], atol=1e-10)
        assert torch.allclose(together[1], alone[1], atol=1e-10) == (variant == "paper" or not training)
    completed = torch.cat([model.complete(image[n : n + 1], mask[n : n + 1]) for n in range(2)])
    assert torch.allclose(model.complete(image, mask), completed, atol=1e-10), "a result depends on the batch"


def test_bgr_is_the_network_on_swapped_channels(batch: Batch) -> None:
    rgb, bgr = make().eval(), make(channels="bgr").eval()
    with torch.no_grad():
        found = bgr(batch["image"].flip(1), batch["mask"]).image.flip(1)
        assert torch.equal(found, rgb(batch["image"], batch["mask"]).image)


@pytest.mark.parametrize("size", [(24, 24), (37, 61), (72, 40)])
def test_other_sizes(size: tuple[int, int]) -> None:
    image, mask = torch.rand(1, 3, *size), torch.zeros(1, 1, *size)
    mask[..., 8:20, 4:16] = 1
    completed = make().eval().complete(image, mask)
    assert completed.shape == image.shape
    assert completed.isfinite().all()


def test_sizes_below_the_patch_grid_raise() -> None:
    with pytest.raises(UserError, match=r"at least 24x24 pixels, this one has 16x40; enlarge it$"):
        make().complete(torch.rand(1, 3, 16, 40), torch.ones(1, 1, 16, 40))


def test_width_no_multiple_of_4_raises() -> None:
    with pytest.raises(UserError, match=r"^DeepFillV2: width=6; .* multiple of 4$"):
        DeepFillV2(width=6)


# Guidance -------------------------------------------------------------------------------------------------------------------


def test_guidance_by_edges(batch: Batch) -> None:
    """Edges of known pixels are ignored, and without a sketch the channel is 0."""
    model = make(guidance=True).eval().double()
    image, mask = batch["image"].double(), batch["mask"].double()
    sketch = torch.zeros_like(mask)
    sketch[:, :, 10:20, 4:12] = 1
    plain = model.complete(image, mask)
    with torch.no_grad():
        drawn = model.complete(image, mask, sketch)
        assert not torch.equal(drawn, plain)
        assert torch.equal(model.complete(image, mask, torch.maximum(sketch, 1 - mask)), drawn)
        assert torch.equal(model.complete(image, mask, torch.zeros_like(mask)), plain)
        official = make(guidance=True, variant="official").eval().double()
        alone = torch.cat([official.complete(image[n : n + 1], mask[n : n + 1], sketch[n : n + 1]) for n in range(2)])
        assert torch.allclose(official.complete(image, mask, sketch), alone, atol=1e-10)
        assert model.complete(image[..., :30, :29], mask[..., :30, :29], sketch[..., :30, :29]).shape == (2, 3, 30, 29)
    with pytest.raises(UserError, match=r"^this DeepFillV2 takes no edges; .*--model\.guidance true$"):
        make().complete(image.float(), mask.float(), sketch)


def test_guided_training(batch: Batch) -> None:
    """Both networks get the edges of the complete image in the holes, computed where the batch has none."""
    model = make(guidance=True)
    edges = model.edge_detector(batch["image"])
    assert model.edge_detector.sigma == 2.0
    (prediction, same) = (model.training_forward(one) for one in (batch, Batch(**batch, edges=edges)))
    assert torch.equal(prediction.stages["edges"], edges * batch["mask"])
    assert prediction.stages["edges"].any()
    assert torch.equal(prediction.image, same.image)
    seen: list[Tensor] = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        evaluated(model.generator_losses(batch, prediction))
        evaluated(model.discriminator_losses(batch, prediction.detach()))
    guides = torch.cat([batch["mask"], edges * batch["mask"]], dim=1)
    assert torch.equal(seen[0][:, 3:], guides)
    assert torch.equal(seen[1][:, 3:], torch.cat([guides, guides]))
    outputs = Outputs()
    make_trainer(2, outputs).fit(model, loader(make_batches(2, size=32)))
    assert len(outputs.seen) == 2


# Public weights -------------------------------------------------------------------------------------------------------------


def test_weights_of_another_network_raise() -> None:
    tf, port = public_weights("deepfillv2_tf"), public_weights("deepfillv2")
    with pytest.raises(UserError, match=r"^these are weights of networks\.py, its port; .*variant 'paper': .*variant='port'"):
        make().load_official(port)
    with pytest.raises(UserError, match=r"^these are weights of networks_tf\.py, the public code; .*variant='official'"):
        make(variant="port").load_official(tf)
    with pytest.raises(UserError, match=r"^these are not weights of nipponjo's DeepFill v2.* DeepFillV1"):
        make().load_official({"coarse_generator.conv1.conv.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"^nipponjo's generator does not fit this DeepFillV2; .*82 weights: allconv11"):
        make().load_official(tf)
    model = DeepFillV2()
    before = model.generator.coarse[0].conv.conv.weight.detach().clone()
    with pytest.raises(UserError, match=r"^nipponjo's discriminator does not fit this DeepFillV2; .*conv9"):
        model.load_official(tf, {"conv9.conv_sn.weight": torch.zeros(1)})
    assert torch.equal(model.generator.coarse[0].conv.conv.weight, before), "all weights or none"


# Losses and training --------------------------------------------------------------------------------------------------------


def evaluated(terms: Terms) -> dict[str, Tensor]:
    return {name: term() if callable(term) else term for name, term in terms.items()}


def test_losses(batch: Batch) -> None:
    model = make().double()
    model.discriminator.eval()  # no power iteration between the two computations
    batch = Batch(image=batch["image"].double(), mask=batch["mask"].double(), name=batch["name"])
    mask, target = batch["mask"], 2 * batch["image"] - 1
    with torch.no_grad():
        prediction = model(batch["image"], mask)
        found = evaluated(model.generator_losses(batch, prediction)) | evaluated(model.discriminator_losses(batch, prediction))
        image, coarse = 2 * prediction.image - 1, 2 * prediction.stages["coarse"] - 1
        completed = image * mask + target * (1 - mask)
        real, fake = (model.discriminator(torch.cat([x, mask], dim=1)) for x in (target, completed))
    expected = {
        "l1": (image - target).abs().sum() / target.numel(),
        "coarse": (coarse - target).abs().sum() / target.numel(),
        "adversarial": -fake.mean(),
        "real": (1 - real).clamp_min(0).mean(),
        "fake": (1 + fake).clamp_min(0).mean(),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_training_as_in_the_public_code() -> None:
    model = DeepFillV2(width=8, discriminator_width=8)
    assert model.weights == Weights(l1=1.0, coarse=1.0, adversarial=1.0, real=0.5, fake=0.5)
    assert model.generator_optimizer == model.discriminator_optimizer == Adam(lr=1e-4, betas=(0.5, 0.999))
    (stage,) = model.stages()
    assert (stage.update, stage.d_steps) == ("alternating", 1)


def test_every_parameter_gets_a_gradient(batch: Batch) -> None:
    model = make()
    prediction = model(batch["image"], batch["mask"])
    sum(evaluated(model.generator_losses(batch, prediction)).values()).backward()
    model.discriminator.zero_grad()
    model.discriminator_losses(batch, prediction.detach())["real"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_through_the_engine(precision: str) -> None:
    model, outputs = make(), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(2, outputs, precision=precision).fit(model, loader(make_batches(2, size=64)))
    for seen in outputs.seen:
        assert seen.keys() == {*vars(Weights()), "generator", "discriminator"}
        assert all(value.isfinite() for value in seen.values())
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters() if "bias" not in name)


def test_attention_is_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    features, hole = torch.randn(2, 4, 16, 16, dtype=torch.bfloat16), (torch.rand(2, 1, 8, 8) < 0.1).float()
    expected = patch_attention(features.float(), hole)
    with torch.autocast("cpu", torch.bfloat16):
        found = patch_attention(features, hole)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_checkpoints(tmp_path: Path, batch: Batch) -> None:
    model = make(channels="bgr")
    trainer = make_trainer(1)
    trainer.fit(model, loader(make_batches(1, size=32)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_inpaint.load(tmp_path / "last.ckpt")
    assert isinstance(again, DeepFillV2)
    assert dict(again.hparams) == dict(model.hparams)
    with torch.no_grad():
        found, expected = (m.eval()(batch["image"], batch["mask"]).image for m in (again, model))
    assert torch.equal(found, expected)


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    batches, states = make_batches(1, size=32) * 5, []  # a list has no state to resume from
    for stops in ((5,), (1, 3, 5)):
        checkpoint = None
        for stop in stops:
            model, trainer = make(), make_trainer(stop)
            trainer.fit(model, loader(batches), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
            checkpoint = tmp_path / f"{stop}.ckpt"
            trainer.save_checkpoint(checkpoint)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("deepfill_v2"), golden.measure("deepfill_v2")
    assert found.keys() == expected.keys() == {*vars(Weights()), "generator", "discriminator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term
