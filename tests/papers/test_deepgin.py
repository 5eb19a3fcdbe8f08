"""DeepGIN against published counts, the public code's outputs, losses and gradients, and losses by hand."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from pathlib import Path
from typing import Any, cast

import golden
import numpy as np
import numpy.typing as npt
import parity_fixtures as parity
import pytest
import torch
from PIL import Image
from skimage import data
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, max_pool2d, pad

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.losses.vgg_features import layer_names
from lit_inpaint.metrics import psnr
from lit_inpaint.official_weights.deepgin import our_name
from lit_inpaint.papers import DeepGIN, deepgin
from lit_inpaint.papers.deepgin import ResBlock, Variant, Weights
from lit_inpaint.schedules import Clock, Linear, value_at
from lit_inpaint.settings import Adam, Stage
from lit_inpaint.types import Batch, Prediction, Terms, composite

NO_VGG = Weights(perceptual=0.0, style=0.0)
ROWS: dict[str, dict[str, Any]] = {  # of any width
    row: {name: value for name, value in arguments.items() if name != "width"}
    for row, arguments in DeepGIN.published_as.items()
}
of_each_row = pytest.mark.parametrize("arguments", ROWS.values(), ids=list(ROWS))
COARSE_ONLY, FULL = "StdResBlk (Coarse only)", "SPDResBlk-MSSA-BP"


def make(**arguments: Any) -> DeepGIN:
    """Build an eighth of the widths, with a random VGG and larger weights: initial outputs of DeepGIN are near 0."""
    torch.manual_seed(1)
    model = DeepGIN(**{"width": 4, "discriminator_width": 4, "vgg": "random", **arguments})
    with torch.no_grad():
        for name, p in model.generator.named_parameters():
            _ = p.normal_(0.0, 0.05) if name.endswith("bias") else p.mul_(7)
        for name, p in model.generator.named_parameters():
            if name in ("coarse.13.bias", "refinement.to_rgb.bias", "refinement.back_projection.low_resolution.1.bias"):
                p.add_(0.5)
    return model


@pytest.fixture
def batch() -> Batch:
    rng = torch.Generator().manual_seed(7)
    mask = torch.zeros(2, 1, 32, 32)
    mask[0, :, 5:22, 8:24] = 1
    mask[1, :, :, :9] = 1
    return Batch(image=torch.rand(2, 3, 32, 32, generator=rng), mask=mask, name=["a", "b"])


def count(*modules: nn.Module | None) -> int:
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def evaluated(terms: Terms) -> dict[str, Tensor]:
    return {name: term() if callable(term) else term for name, term in terms.items()}


# Counts and layers ----------------------------------------------------------------------------------------------------------

TABLE_1 = {  # millions in the paper, parameters of the network
    "StdResBlk (Coarse only)": (8.168, 8_167_843),
    "StdResBlk": (40.850, 40_849_990),
    "StdResBlk-SA": (41.376, 41_375_558),
    "StdResBlk-MSSA": (42.892, 42_892_134),
    "DilatedResBlk-MSSA": (42.892, 42_892_134),
    "SPDResBlk-MSSA": (42.892, 42_892_134),
    "SPDResBlk-MSSA-BP": (42.930, 42_930_186),
}


@pytest.mark.parametrize("row", TABLE_1)
def test_table_1(row: str) -> None:
    assert list(ROWS) == list(TABLE_1)
    with torch.device("meta"):
        found = count(DeepGIN(**cast(Any, DeepGIN.published_as[row])).generator)
    printed, exact = TABLE_1[row]
    assert found == exact
    assert round(found / 1e6, 3) == printed


def test_parameters_of_each_layer() -> None:
    with torch.device("meta"):
        g = DeepGIN().generator
    entry = [6_304, 32_832, 131_200, 524_544]
    assert [count(layer) for layer in g.coarse] == [*entry, *[1_180_160] * 6, 295_040, 73_792, 18_464, 4_707]
    r = g.refinement
    assert r is not None
    assert r.mssa_quarter is not None
    assert r.mssa_eighth is not None
    assert r.back_projection is not None
    assert count(r) == 34_762_343
    assert [count(layer) for layer in r.encoder] == [*entry, 2_097_664]
    assert [count(layer) for layer in r.mssa_quarter] == [73_792, 8_352]
    assert [count(layer) for layer in r.mssa_eighth] == [295_040, 33_088]
    assert [count(layer) for layer in r.bottleneck] == [*[4_719_616] * 3, 525_568, *[4_719_616] * 3]
    assert [count(r.decoder_eighth), count(r.merge_eighth)] == [1_179_904, 884_992]
    assert [count(r.decoder_quarter), count(r.merge_quarter)] == [295_040, 221_312]
    assert [count(layer) for layer in r.decoder] == [73_792, 18_464]
    assert count(r.to_rgb) == 4_707
    assert [count(layer) for layer in r.back_projection.low_resolution] == [36_896, 867]
    assert count(r.back_projection.alpha) == 289


def test_discriminator() -> None:
    """Use full width for the counts, a narrow network for the sizes of its maps at 256x256."""
    with torch.device("meta"):
        d = DeepGIN().discriminator
    assert count(d) == 3_421_568
    assert sum(b.numel() for b in d.buffers()) == 15_936
    d, sizes = make(discriminator_width=2).discriminator, list[int]()
    for module in d.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.nn.utils.parametrize.is_parametrized(module, "weight")
            module.register_forward_hook(lambda module, args, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        scores = d(torch.rand(1, 3, 256, 256), torch.rand(1, 3, 256, 256))
    assert sizes == [129, 65, 66, 67, 65, 33, 34, 35]
    assert [tuple(score.shape) for score in scores] == [(1, 8, 67, 67), (1, 8, 35, 35)]


def test_kinds_of_blocks() -> None:
    def rates(block: Any) -> dict[str, set[tuple[int, ...]]]:
        model = make(block=block)
        assert model.generator.refinement is not None
        positions = {"coarse": model.generator.coarse, "refinement": model.generator.refinement}
        return {
            name: {tuple(c.dilation[0] for c in m.branches) for m in position.modules() if isinstance(m, ResBlock)}
            for name, position in positions.items()
        }

    assert rates("pyramid") == {"coarse": {(2, 3, 4, 5, 6, 8, 10, 1)}, "refinement": {(2, 3, 4, 5)}}
    assert rates("dilated") == {"coarse": {(2,)}, "refinement": {(2,)}}
    assert rates("standard") == {"coarse": {(1,)}, "refinement": {(1,)}}
    fusions = [m.fusion for m in make(block="dilated").modules() if isinstance(m, ResBlock)]
    assert len(fusions) == 12
    assert {c.dilation for c in fusions} == {(1, 1)}, "the first convolution alone (figure 3b)"


def test_padding_is_replicated() -> None:
    convolutions = [m for m in make().generator.modules() if isinstance(m, nn.Conv2d)]
    assert {(c.padding_mode if c.kernel_size != (1, 1) else "replicate") for c in convolutions} == {"replicate"}
    assert {(c.padding_mode, c.padding) for c in make().discriminator.modules() if isinstance(c, nn.Conv2d)} == {
        ("zeros", (2, 2))
    }


def test_initialization() -> None:
    """G: He's times 0.1 and biases 0, also in attention. D: PyTorch's, with spectral norm applied."""
    torch.manual_seed(0)
    model, seen = DeepGIN(width=16, discriminator_width=16), 0
    for module in model.generator.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is not None
            assert not module.bias.any()
            if module.weight.numel() > 5000:
                seen += 1
                assert float(module.weight.detach().std()) * module.weight[0].numel() ** 0.5 == pytest.approx(0.1414, rel=0.06)
    assert seen > 50
    for name, p in model.discriminator.named_parameters():
        if name.endswith("original") and p.numel() > 1000:
            bound = p[0].numel() ** -0.5
            assert 0.98 * bound < float(p.detach().abs().max()) <= bound
            assert float(p.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.06)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"refinement": False}, r"second generator.*attention='none' and back_projection=False"),
        ({"refinement": False, "attention": "none"}, "second generator"),
        ({"refinement": False, "back_projection": False}, "second generator"),
        ({"size": 40}, "size is 40; it takes a multiple of 16"),
        ({"size": 0}, "size is 0"),
        ({"width": 0}, "width is 0"),
        ({"discriminator_width": 0}, "discriminator_width 0"),
    ],
    ids=str,
)
def test_impossible_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        DeepGIN(**arguments)
    assert "\n" not in str(caught.value)


# Shapes, range, polarity ----------------------------------------------------------------------------------------------------


@of_each_row
def test_output_shapes(arguments: dict[str, Any]) -> None:
    with torch.no_grad():
        prediction = make(**arguments)(torch.rand(2, 3, 48, 32), torch.zeros(2, 1, 48, 32))
    assert prediction.image.shape == (2, 3, 48, 32)
    expected = {}
    if arguments.get("refinement", True):
        expected["coarse"] = (2, 3, 48, 32)
    if arguments.get("back_projection", True):
        expected["low_resolution"] = (2, 3, 12, 8)
    assert {name: tuple(stage.shape) for name, stage in prediction.stages.items()} == expected


def test_batches_are_not_changed(batch: Batch) -> None:
    before = {key: batch[key].clone() for key in ("image", "mask")}
    model = make(variant="paper")
    prediction = model(batch["image"], batch["mask"])
    evaluated(model.generator_losses(batch, prediction))
    model.discriminator_losses(batch, prediction.detach())
    assert all(torch.equal(batch[key], value) for key, value in before.items())


# The public code ------------------------------------------------------------------------------------------------------------


@cache
def public_weights(network: str) -> dict[str, Tensor]:
    """The fixtures' state dict of the "generator" or the "discriminator"."""
    metadata = parity.metadata(f"deepgin_{network}")
    state = parity.fill_all(metadata["state_dict"], rules=metadata["weight_fill"]["rules"])
    total = sum(float(value.double().abs().sum()) for value in state.values())
    assert total == pytest.approx(metadata["filler_check"]["sum_abs_all_filled"], rel=1e-9)
    return state


def public_model() -> DeepGIN:
    model = DeepGIN(vgg="random", variant="official")
    model.load_official(public_weights("generator"), public_weights("discriminator"))
    return model


def iterate(discriminator: nn.Module) -> None:
    """Do one power iteration, as the public code in each forward pass; PyTorch does none in eval mode."""
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d):
            (norm,) = module.parametrizations["weight"]
            w = module.parametrizations["weight"].original.detach().flatten(1)
            norm._v.copy_(nn.functional.normalize(w.T @ norm._u, dim=0, eps=1e-12))
            norm._u.copy_(nn.functional.normalize(w @ norm._v, dim=0, eps=1e-12))


@pytest.mark.parametrize("channels_last", [False, True])
def test_parity_of_the_generator(channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stored output and stage within 2e-5; the fixture itself is 1.1e-5 from double precision."""
    model, stored, seen = DeepGIN(), parity.arrays("deepgin_generator"), dict[str, Tensor]()
    model.load_official(public_weights("generator"))
    if channels_last:
        model.to(memory_format=torch.channels_last)

    def keep(name: str, module: nn.Module, given: bool = False) -> None:
        def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
            seen[name] = (args[0] if given else output).clone()  # later layers may work in place

        module.register_forward_hook(hook)

    resize, made = deepgin.resize, []
    monkeypatch.setattr(deepgin, "resize", lambda *arguments: made.append(resize(*arguments)) or made[-1])
    r = model.generator.refinement
    assert r is not None
    assert r.mssa_quarter is not None
    assert r.mssa_eighth is not None
    assert r.merge_quarter is not None
    assert r.back_projection is not None
    keep("coarse_bottleneck_in", model.generator.coarse[4], given=True)
    keep("coarse_bottleneck_out", model.generator.coarse[9])
    keep("refine_enc5_preact", r.encoder[4].get_submodule("0"))
    keep("sa16_in", r.bottleneck[3], given=True)
    keep("sa16_out", r.bottleneck[3])
    keep("sa32_out", r.mssa_eighth)
    keep("sa64_out", r.mssa_quarter)
    keep("refine_mid_out", r.bottleneck)
    keep("mix2_preact", r.merge_quarter.get_submodule("0"))
    keep("refine_raw_rgb", r.to_rgb)
    keep("bp_alpha", r.back_projection.alpha)
    image, mask = parity.image(256), parity.mask(256)
    with torch.no_grad():
        prediction = model(image, mask)
    seen["bp_down_of_composite"], seen["bp_upsampled_residual"] = made
    outputs = {"reconst": prediction.image, "coarse": prediction.stages["coarse"], "lr": prediction.stages["low_resolution"]}
    outputs["compltd"] = composite(image, prediction.image, mask)
    for name, output in outputs.items():
        assert parity.worst(output, stored, name) < 2e-5, name
    labels = {key.split("__")[0] for key in stored} - outputs.keys()
    assert labels == {f"stage.{name}" for name in seen}
    for name, stage in seen.items():
        assert parity.worst(stage, stored, f"stage.{name}") < 2e-5, name


def test_parity_of_the_discriminator() -> None:
    model, metadata, stored = (
        public_model().eval(),
        parity.metadata("deepgin_discriminator"),
        parity.arrays("deepgin_discriminator"),
    )
    image, mask = parity.image(256), parity.mask(256)
    d, seen = model.discriminator, dict[str, Tensor]()
    for name, module in (("full_conv0", d.full_size[0]), ("full_conv2", d.full_size[4]), ("half_conv0", d.half_size[0])):
        module.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output.clone()}))
    d.half_size.register_forward_pre_hook(lambda module, args: seen.update(avgpool=args[0]))

    def compute_scores() -> list[Tensor]:
        iterate(d)
        with torch.no_grad():
            scores: list[Tensor] = d(image * (1 - mask) + mask, image)
        return scores

    def left_vector() -> list[float]:
        (norm,) = d.full_size[0].parametrizations["weight"]
        found: list[float] = norm._u.tolist()
        return found

    first = compute_scores()
    assert left_vector() == pytest.approx(metadata["u_layer1_0_after_forward_1"], abs=1e-6)
    for name, score in zip(("scale_full", "scale_half"), first, strict=True):
        assert parity.worst(score, stored, name) < 2e-5, name
    labels = {key.split("__")[0] for key in stored if key.startswith("stage.")}
    assert labels == {f"stage.{name}" for name in seen}
    for name, stage in seen.items():
        assert parity.worst(stage, stored, f"stage.{name}") < 2e-5, name
    hinge = metadata["hinge_on_first_forward"]
    assert float(deepgin.hinge_real(first)) == pytest.approx(hinge["D_real_loss_if_real"], rel=1e-6)
    assert float(deepgin.hinge_fake(first)) == pytest.approx(hinge["D_fake_loss_if_fake"], rel=1e-6)
    assert float(deepgin.hinge_generator(first)) == pytest.approx(hinge["G_loss"], rel=1e-4)
    second = compute_scores()
    assert left_vector() == pytest.approx(metadata["u_layer1_0_after_forward_2"], abs=1e-6)
    for name, score in zip(("scale_full", "scale_half"), second, strict=True):
        x = score.double()
        found = [float(v) for v in (x.mean(), x.std(correction=0), x.abs().sum())]
        assert found == pytest.approx(metadata["second_forward_stats_mean_std_abs_sum"][name], rel=1e-4), name


@pytest.mark.parametrize(
    ("name", "rates", "names"),
    [
        ("spd8", (2, 3, 4, 5, 6, 8, 10, 1), {f"branch{n + 1}": f"branches.{n}" for n in range(8)} | {"fusion9": "fusion"}),
        ("spd4", (2, 3, 4, 5), {f"branch{n + 1}": f"branches.{n}" for n in range(4)} | {"fusion5": "fusion"}),
        ("std", (1,), {"conv_block.0": "branches.0", "conv_block.1": "fusion"}),
    ],
)
def test_parity_of_a_block(name: str, rates: tuple[int, ...], names: dict[str, str]) -> None:
    metadata, stored = parity.metadata("deepgin_blocks")["blocks"][name], parity.arrays("deepgin_blocks")
    block, width, side = ResBlock(metadata["channels"], rates), metadata["channels"], metadata["size"]
    state = parity.fill_all(metadata["state_dict"], gain=metadata["gain"])
    block.load_state_dict({f"{names[key.split('.conv.')[0]]}.{key.split('.conv.')[1]}": v for key, v in state.items()})
    rng = np.random.Generator(np.random.PCG64(0))
    x = torch.from_numpy((rng.random((1, width, side, side)) * 2 - 1).astype(np.float32))
    given = x.clone()
    with torch.no_grad():
        output = block(x)
    assert torch.equal(x, given), "the input is added at the end, so nothing may change it in place"
    np.testing.assert_allclose(output[:, :16].numpy(), stored[f"{name}__full"], atol=2e-5, rtol=0)
    assert float(output.double().abs().sum()) == pytest.approx(float(stored[f"{name}__stats"][2]), rel=1e-5)


TENSORS = {  # whose gradients' norms the fixtures hold
    "lr_coarse_tinker.1.weight": "coarse.0.0.weight",
    "lr_coarse_tinker.31.bias": "coarse.13.bias",
    "r_en_conv5.weight": "refinement.encoder.4.0.weight",
    "r_md_satn1.theta.weight": "refinement.bottleneck.3.theta.weight",
    "r_de_conv5_lr_alpha.weight": "refinement.back_projection.alpha.0.weight",
    "r_de_conv3_lr.weight": "refinement.back_projection.low_resolution.1.weight",
    "r_de_conv5.weight": "refinement.to_rgb.weight",
    "r_de_satn3.g.weight": "refinement.mssa_quarter.1.g.weight",
}


@pytest.mark.parametrize("samples", [1, 2])
def test_parity_of_losses_and_gradients(samples: int) -> None:
    """One step of the public code: D gets the generated images, the real ones, and the generated ones again for G.

    Channels-last as in training. D's gradient is within a thousandth only: the public code's backward goes through the norm of
    the last of the three forwards.
    """
    metadata, model = parity.metadata(f"deepgin_losses_b{samples}"), public_model().eval().to(memory_format=torch.channels_last)
    for name, value in model.vgg.load().network.state_dict().items():
        value.copy_(parity.fill(name.replace("layers", "features"), value.shape, gain=2**0.5))
    image, mask = parity.image(256, batch=samples), parity.mask(256, batch=samples)
    given, found = Batch(image=image, mask=mask, name=["a", "b"][:samples]), dict[str, Tensor]()
    expected = metadata["grad_l2_norm"]

    def length(tensors: list[Tensor | None]) -> float:
        return sum(float(t.double().square().sum()) for t in tensors if t is not None) ** 0.5

    prediction, d_parameters = model(image, mask), list(model.discriminator.parameters())
    for term in ("fake", "real"):
        iterate(model.discriminator)
        found[term] = evaluated(model.discriminator_losses(given, prediction.detach()))[term]
        (Weights().real * found[term]).backward()
    assert length([p.grad for p in d_parameters]) == pytest.approx(expected["D_from_loss_D"], rel=1e-3)
    model.discriminator.zero_grad()
    iterate(model.discriminator)
    with torch.no_grad():
        of_truth = model.vgg(deepgin.resize(image, (224, 224)))
    found |= evaluated(model.generator_losses(given, prediction))
    coarse = model.generator_losses(given, Prediction(prediction.stages["coarse"].detach()))
    weighted = {name: getattr(Weights(), name) * value for name, value in found.items()}
    l1 = weighted["hole"] + weighted["valid"]
    l1_of_coarse = 5 * evaluated({"": coarse["hole"]})[""] + evaluated({"": coarse["valid"]})[""]
    ours = {
        "G_GAN": weighted["adversarial"],
        "G_COARSE_L1": l1_of_coarse,
        "G_OUT_L1": l1 - l1_of_coarse,
        "G_STYLE": weighted["style"],
        "G_VGG": weighted["perceptual"],
        "G_TV": weighted["tv"],
        "D_real": found["real"],
        "D_fake": found["fake"],
    }
    assert ours.keys() == metadata["losses_weighted"].keys()
    for name, value in ours.items():
        rel = 1e-4 if name == "G_GAN" else 1e-5  # a mean of scores that cancel
        assert float(value.detach()) == pytest.approx(metadata["losses_weighted"][name], rel=rel), name
    assert float(weighted["real"].detach() + weighted["fake"].detach()) == pytest.approx(metadata["loss_D"], rel=1e-5)
    total = torch.stack([weighted[name] for name in ("hole", "valid", "adversarial", "perceptual", "style", "tv")]).sum()
    assert float(total.detach()) == pytest.approx(metadata["loss_G"], rel=1e-5)

    total.backward()
    gradients = {name: p.grad for name, p in model.generator.named_parameters()}
    assert length(list(gradients.values())) == pytest.approx(expected["G_all"], rel=1e-4)
    assert expected["per_tensor"].keys() == TENSORS.keys()
    for theirs, name in TENSORS.items():
        assert length([gradients[name]]) == pytest.approx(expected["per_tensor"][theirs], rel=1e-4), theirs
    assert length([p.grad for p in d_parameters]) == pytest.approx(expected["D_from_G_adversarial_term"], rel=1e-4)
    for feature, check in zip(of_truth, metadata["vgg_feature_check"], strict=True):
        assert list(feature.shape) == check["shape"]
        assert float(feature.mean()) == pytest.approx(check["mean"], rel=1e-4)
        assert float(feature.min()) == pytest.approx(check["min"], abs=1e-4)
        assert float(feature.double().abs().sum()) == pytest.approx(check["abs_sum"], rel=1e-5)


# Loading public weights -----------------------------------------------------------------------------------------------------


def public_names(model: DeepGIN) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return our weights under public names, netG's and netD's; the vectors of spectral norm have another length."""
    states = []
    for network, ours in (("generator", model.generator), ("discriminator", model.discriminator)):
        names = [row[0] for row in parity.metadata(f"deepgin_{network}")["state_dict"]]
        state = ours.state_dict()
        assert sorted(map(our_name, names)) == sorted(state)
        states.append({name: state[our_name(name)].clone() for name in names})
    generator, discriminator = states
    return generator, {name: 7 * v if name.endswith(("_u", "_v")) else v for name, v in discriminator.items()}


def test_load_official_and_back(tmp_path: Path) -> None:
    source = make()
    generator, discriminator = public_names(source)
    torch.manual_seed(1)
    model = DeepGIN(width=4, discriminator_width=4, vgg="random", weights=NO_VGG, stages=(Stage("x", discriminator=False),))
    before = copy.deepcopy(model.discriminator.state_dict())
    model.load_official(generator)
    assert all(torch.equal(value, before[name]) for name, value in model.discriminator.state_dict().items())
    model.load_official(generator, discriminator)
    for ours, theirs in ((model.generator, source.generator), (model.discriminator, source.discriminator)):
        state = theirs.state_dict()
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, state[name], msg=name)
    image, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 5:17] = 1
    assert torch.equal(model.eval().complete(image, mask), source.eval().complete(image, mask))

    trainer = make_trainer(1)
    trainer.fit(model.train(), loader(make_batches(1, size=16)))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    assert all(name.startswith(("generator.", "discriminator.")) for name in state)
    again = lit_inpaint.load(tmp_path / "x.ckpt")
    assert isinstance(again, DeepGIN)
    assert dict(again.hparams) == dict(model.hparams)
    assert torch.equal(again.complete(image, mask), model.eval().complete(image, mask))


def test_load_official_is_strict() -> None:
    model = make()
    generator, discriminator = public_names(model)

    def refused(message: str, *states: dict[str, Tensor], by: DeepGIN = model) -> None:
        with pytest.raises(UserError, match=message) as caught:
            by.load_official(*states)
        assert "\n" not in str(caught.value)

    full = r"netG does not fit this DeepGIN .*full model, DeepGIN\(\) without arguments"
    missing = {name: value for name, value in generator.items() if name != "r_de_satn3.W.bias"}
    refused(rf"{full}.*mssa_quarter\.1\.out\.bias", missing)
    refused(rf"{full}.*surplus", {**generator, "surplus.weight": torch.zeros(1)})
    refused(rf"{full}.*1 weights: r_en_conv1\.weight", {**generator, "r_en_conv1.weight": torch.zeros(4, 7, 7, 7)})
    refused(rf"{full}.*coarse\.0\.0\.weight", {**generator, "coarse.0.0.weight": generator["lr_coarse_tinker.1.weight"]})
    refused(r"not weights of DeepGIN's netG \(ImageTinker2\)", {"state_dict": torch.zeros(1)})
    refused(r"not weights of DeepGIN's netG", discriminator)
    refused(r"netD does not fit", generator, generator)
    refused(r"netD does not fit", generator, {name: v for name, v in discriminator.items() if name != "layer0.0.module.bias"})
    refused(r"netD does not fit", generator, {**discriminator, "layer2.0.module.bias": torch.zeros(4)})
    for row, arguments in ROWS.items():
        if row not in (FULL, "SPDResBlk-MSSA"):
            refused(full, generator, by=make(**arguments))
    refused(rf"{full}.*6 weights: r_de_conv2_lr\.bias", generator, by=make(**ROWS["SPDResBlk-MSSA"]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refused(r"netD does not fit", {name: value + 1 for name, value in generator.items()}, generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "nothing is loaded in part"


def test_sides_that_are_no_multiples_of_16_raise_in_training() -> None:
    with pytest.raises(UserError, match=r"multiples of 16, not 40x32: --data\.size 64"):
        make()(torch.zeros(1, 3, 32, 40), torch.zeros(1, 1, 32, 40))


# Losses ---------------------------------------------------------------------------------------------------------------------


def from_corner_to_corner(x: Tensor, height: int, width: int) -> Tensor:
    """Sample (B, C, height, width) bilinearly with aligned corners."""

    def along(x: Tensor, count: int) -> Tensor:
        """Sample along the last dimension."""
        columns = []
        for k in range(count):
            position = k * (x.shape[-1] - 1) / (count - 1)
            low = min(int(position), x.shape[-1] - 2)
            columns.append(x[..., low] * (1 - (position - low)) + x[..., low + 1] * (position - low))
        return torch.stack(columns, dim=-1)

    return along(along(x, width).mT, height).mT


def gram(x: Tensor) -> Tensor:
    return torch.einsum("bihw,bjhw->bij", x, x) / x[0].numel()


def vgg_19_by_hand(model: DeepGIN, image: Tensor) -> list[Tensor]:
    """Compute conv1_1 to conv5_1, before ReLU."""
    mean, deviation = (image.new_tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    x, state, kept = (image - mean) / deviation, model.vgg.load().network.state_dict(), []
    for number, name in enumerate(layer_names(19)):
        if name.startswith("conv"):
            x = conv2d(x, state[f"layers.{number}.weight"], state[f"layers.{number}.bias"], padding=1)
            if name.endswith("_1"):
                kept.append(x)
        else:
            x = x.clamp(min=0) if name.startswith("relu") else max_pool2d(x, 2)
        if name == "conv5_1":
            return kept
    raise AssertionError


class SmallFeatures(nn.Module):
    """Replace VGG at 224x224, which is slow; another test compares VGG's features there with the public code's."""

    def forward(self, image: Tensor) -> list[Tensor]:
        assert image.shape[-2:] == (224, 224)
        return [torch.cat([image, image.square() * k], dim=1)[:, : 2 + k, :: 2**k, k:] for k in range(5)]


@pytest.mark.parametrize("row", [COARSE_ONLY, "SPDResBlk-MSSA", FULL])
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_losses(variant: Variant, row: str, batch: Batch) -> None:
    model = make(variant=variant, **ROWS[row]).double()
    model.discriminator.eval()  # no power iteration between the two computations
    if variant == "official":
        model.vgg = SmallFeatures()
    image, mask = batch["image"].double(), batch["mask"].double()
    given = Batch(image=image, mask=mask, name=batch["name"])
    with torch.no_grad():
        prediction = model(image, mask)
        found = evaluated(model.generator_losses(given, prediction))
        found_by_d = evaluated(model.discriminator_losses(given, prediction))

        complete, white = prediction.image * mask + image * (1 - mask), image * (1 - mask) + mask
        pairs = [
            (x, image, mask) for name, x in (("image", prediction.image), *prediction.stages.items()) if len(x[0][0]) == 32
        ]
        if row == FULL:
            small = from_corner_to_corner(mask, 8, 8)
            assert ((small > 0) & (small < 1)).any(), "edges of holes are fractions"
            pairs.append((prediction.stages["low_resolution"], from_corner_to_corner(image, 8, 8), small))
        assert len(pairs) == {COARSE_ONLY: 1, "SPDResBlk-MSSA": 2, FULL: 3}[row]
        if variant == "paper":
            target, *made = (vgg_19_by_hand(model, x) for x in (image, prediction.image, complete))
            weights, power = [1.0] * 5, 1
        else:
            target, *made = (SmallFeatures()(from_corner_to_corner(x, 224, 224)) for x in (image, prediction.image, complete))
            weights, power = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0], 2
        layers = [(w, a, b) for features in made for w, a, b in zip(weights, features, target, strict=True)]
        down, right = complete[:, :, 1:] - complete[:, :, :-1], complete[..., 1:] - complete[..., :-1]
        real, fake = model.discriminator(white, image), model.discriminator(white, complete)
    expected = {
        "hole": sum(((a - b).abs() * m).sum() / b.numel() for a, b, m in pairs),
        "valid": sum(((a - b).abs() * (1 - m)).sum() / b.numel() for a, b, m in pairs),
        "adversarial": -sum(score.sum() / score.numel() for score in fake),
        "perceptual": sum(w * (a - b).abs().sum() / b.numel() for w, a, b in layers),
        "style": sum(w * (gram(a) - gram(b)).abs().pow(power).sum() / (2 * b.shape[1] ** 2) for w, a, b in layers),
        "tv": power * sum(d.abs().pow(power).sum() / d.numel() for d in (down, right)),  # (2 / B) sum / (3 (H - 1) W)
    }
    zero = torch.zeros((), dtype=torch.float64)
    expected_of_d = {
        "real": sum(torch.maximum(zero, 1 - score).mean() for score in real),
        "fake": sum(torch.maximum(zero, 1 + score).mean() for score in fake),
    }
    for ours, by_hand in ((found, expected), (found_by_d, expected_of_d)):
        assert ours.keys() == by_hand.keys()
        for name, value in by_hand.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-9, msg=name)


def test_weights_are_the_papers() -> None:
    l1, others = {"hole": 5.0, "valid": 1.0}, {"adversarial": 0.001, "perceptual": 0.05, "style": 80.0, "tv": 0.1}
    assert vars(Weights()) == {**l1, **others, "real": 0.5, "fake": 0.5}
    assert make().weights == Weights()
    assert DeepGIN().variant == "paper"


@of_each_row
def test_every_parameter_gets_a_gradient(arguments: dict[str, Any], batch: Batch) -> None:
    model = make(variant="paper", **arguments)
    prediction = model(batch["image"], batch["mask"])
    sum(evaluated(model.generator_losses(batch, prediction)).values()).backward()
    dead = {name for name, p in model.generator.named_parameters() if p.grad is None or not p.grad.any()}
    assert not {name for name in dead if not name.endswith("phi.bias")}, (
        "softmax does not depend on phi's: 0, except for rounding"
    )
    assert all(p.grad is None for p in model.vgg.load().network.parameters())
    model.discriminator.zero_grad()
    # The two hinge terms have opposite gradients for the last bias, so their sum may be exactly 0.
    model.discriminator_losses(batch, prediction.detach())["real"].backward()
    dead = [name for name, p in model.discriminator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize("term", ["perceptual", "style"])
def test_vgg_runs_once_for_each_image(term: str, batch: Batch) -> None:
    model, calls = make(variant="paper"), list[int]()
    model.vgg.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    terms = model.generator_losses(batch, model(batch["image"], batch["mask"]))
    assert not calls, "not before a loss needs it"
    evaluated({term: terms[term]})
    assert calls == [2, 2, 2]
    evaluated(terms)
    assert calls == [2, 2, 2], "both losses share the features"


# Completion -----------------------------------------------------------------------------------------------------------------


def example(height: int, width: int, samples: int = 2) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(height + width)
    image, mask = torch.rand(samples, 3, height, width, generator=rng), torch.zeros(samples, 1, height, width)
    mask[..., height // 5 : height // 2, width // 4 : width // 4 * 3] = 1
    mask[0, :, -3:, -5:] = 1
    return image, mask


@pytest.mark.parametrize("any_size", ["subsampled", "official", "whole"])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (9, 14), (17, 3), (50, 37), (64, 16)])
def test_any_size_is_completed(size: tuple[int, int], any_size: Any) -> None:
    model, (image, mask) = make(size=16, any_size=any_size).eval(), example(*size)
    kept = image.clone(), mask.clone()
    done = model.complete(image, mask)
    assert done.shape == image.shape
    assert torch.equal(done * (1 - mask), image * (1 - mask)), "known pixels keep their values"
    assert done.min() >= 0
    assert done.max() <= 1
    assert not torch.equal(done, image)
    garbage = torch.where(mask == 1, torch.rand(image.shape), image)
    assert torch.equal(model.complete(garbage, mask), done), "the content of holes is ignored"
    assert torch.equal(image, kept[0])
    assert torch.equal(mask, kept[1])


@pytest.mark.parametrize("any_size", ["subsampled", "whole"])
def test_small_images_are_padded_to_multiples_of_16(any_size: Any) -> None:
    model, (image, mask) = make(size=32, any_size=any_size).eval(), example(20, 32)
    margin = (0, 0, 0, 12)
    with torch.no_grad():
        whole = model(pad(image, margin, mode="replicate"), pad(mask, margin, mode="replicate")).image[:, :, :20]
    assert torch.equal(model.complete(image, mask), composite(image, whole.clamp(0, 1), mask))


def test_whole() -> None:
    model, (image, mask) = make(size=16, any_size="whole").eval(), example(48, 64)
    with torch.no_grad():
        expected = composite(image, model(image, mask).image.clamp(0, 1), mask)
    assert torch.equal(model.complete(image, mask), expected)
    assert not torch.allclose(make(size=16).eval().complete(image, mask), expected, atol=0.01)


def test_large_images_are_completed_by_subsampling() -> None:
    model, (image, mask) = make(size=16).eval(), example(32, 48)
    assert model.any_size == "subsampled"
    expected = torch.zeros_like(image)
    with torch.no_grad():
        for i in range(2):
            for j in range(3):
                part, hole = image[..., i::2, j::3], mask[..., i::2, j::3]
                expected[..., i::2, j::3] = composite(part, model(part, hole).image.clamp(0, 1), hole)
    torch.testing.assert_close(model.complete(image, mask), expected, atol=1e-5, rtol=0)


def pil_resized(x: npt.NDArray[np.float32], size: tuple[int, int], how: Image.Resampling) -> npt.NDArray[np.float32]:
    """Resize (H, W) to (*size,) in single precision."""
    return np.asarray(Image.fromarray(x, mode="F").resize(size[::-1], how))


def by_subsampling(model: DeepGIN, image: Tensor, mask: Tensor, official: bool) -> npt.NDArray[np.float32]:
    """Complete an image (3, H, W) with a mask (H, W), after `test_ensemble.py` of the public code, with PIL."""
    size, (height, width) = model.size, mask.shape
    near = max(1, round(height / size)) * size, max(1, round(width / size)) * size
    white = np.where(mask.numpy() > 0, np.float32(1), image.numpy())
    holes = mask.numpy()
    if near != (height, width):
        white = np.stack([pil_resized(x, near, Image.Resampling.BICUBIC) for x in white]).clip(0, 1)
        holes = (pil_resized(holes, near, Image.Resampling.BILINEAR) > 0).astype(np.float32)
    white = np.where(holes > 0, np.float32(1), white)
    rows, columns = near[0] // size, near[1] // size

    def reconstructed(x: npt.NDArray[np.float32], m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            output: Tensor = model(torch.from_numpy(x.copy())[None], torch.from_numpy(m.copy())[None, None]).image[0]
        return output.numpy()

    def truncated(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.floor(x.clip(0, 1) * 255) / 255

    whole = np.zeros_like(white)
    for i in range(rows):
        for j in range(columns):
            x, m = white[:, i::rows, j::columns], holes[i::rows, j::columns]
            if official:
                x, m, five = x.transpose(0, 2, 1), m.T, []
                for turn in range(4):
                    turned = truncated(reconstructed(np.rot90(x, turn, (1, 2)), np.rot90(m, turn)))
                    five.append(np.rot90(turned, 4 - turn, (1, 2)))
                five.append(truncated(reconstructed(x[..., ::-1], m[:, ::-1]))[..., ::-1])
                whole[:, i::rows, j::columns] = np.round(np.mean(five, axis=0) * 255).transpose(0, 2, 1) / 255
            else:
                whole[:, i::rows, j::columns] = np.where(m > 0, reconstructed(x, m), x)
    steps = [(height, width), (height // 2, width // 2), (height, width)] if official else [(height, width)]
    for step in steps:
        whole = np.stack([pil_resized(x, step, Image.Resampling.BICUBIC) for x in whole]).clip(0, 1)
    return whole


@pytest.mark.parametrize("size", [(50, 37), (24, 70), (12, 40)])
def test_large_images_of_other_sizes(size: tuple[int, int]) -> None:
    model, (image, mask) = make(size=16).eval(), example(*size)
    found = model.complete(image, mask)
    for number in range(2):
        by_hand = torch.from_numpy(by_subsampling(model, image[number], mask[number, 0], official=False).copy())
        expected = composite(image[number], by_hand.clamp(0, 1), mask[number])
        torch.testing.assert_close(found[number], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(32, 48), (50, 37), (16, 16), (12, 9)])
def test_ensemble_of_the_public_code(size: tuple[int, int]) -> None:
    """Another order of summation may move a value to the next of the 255 levels: in one of five outputs, then in their mean."""
    model, (image, mask) = make(size=16, any_size="official").eval(), example(*size)
    found = model.complete(image, mask)
    for number in range(2):
        by_hand = torch.from_numpy(by_subsampling(model, image[number], mask[number, 0], official=True).copy())
        difference = (found[number] - composite(image[number], by_hand.clamp(0, 1), mask[number])).abs()
        assert float(difference.mean()) < 2e-5
        assert float(difference.max()) < 1.1 / 255


# Training -------------------------------------------------------------------------------------------------------------------


def test_training_as_in_section_5() -> None:
    model = make()
    assert model.generator_optimizer == Adam(lr=1e-4, betas=(0.5, 0.999))
    assert model.discriminator_optimizer == Adam(lr=4e-4, betas=(0.5, 0.999))
    warm_up, main = model.stages()
    assert (warm_up.epochs, warm_up.players, warm_up.generator_optimizer) == (10, ("generator",), None)
    assert warm_up.weights == {"adversarial": 0.0, "perceptual": 0.0, "style": 0.0, "tv": 0.0}
    assert (main.epochs, main.update, main.fresh_optimizers, main.weights) == (100, "generator_first", True, {})
    assert main.players == ("generator", "discriminator")
    assert (model.training_settings.clip_generator, model.training_settings.clip_discriminator) == (None, None)
    for settings, rate in ((main.generator_optimizer, 1e-4), (main.discriminator_optimizer, 4e-4)):
        assert isinstance(settings, Adam)
        assert settings == Adam(Linear(rate, hold=10, length=90, by="epoch"), betas=(0.5, 0.999))
        rates = [value_at(settings.lr, Clock(7 * epoch + 3, per_epoch=7)) for epoch in range(100)]
        assert rates[:11] == [rate] * 11, "epochs 1 to 11"
        assert rates[11:] == pytest.approx([rate * (1 - (epoch - 11) / 90) for epoch in range(12, 101)])
        assert rates[-1] == pytest.approx(rate / 90)


def test_stages_through_the_engine() -> None:
    """An epoch of warm-up and the first 13 of the main stage, two batches each."""
    warm_up, main = make().stages()
    stages = (dataclasses.replace(warm_up, epochs=1), dataclasses.replace(main, epochs=13))
    model, log = make(weights=NO_VGG, stages=stages), Outputs()
    rates, steps, moved = list[list[float]](), list[list[int]](), list[bool]()
    start = [p.detach().clone() for p in model.discriminator.parameters()]

    class Watch(Outputs):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            learning = [optimizer for optimizer in trainer.optimizers if optimizer.state]
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in learning])
            steps.append([int(next(iter(optimizer.state.values()))["step"]) for optimizer in learning])
            moved.append(any(not torch.equal(a, b) for a, b in zip(start, pl_module.discriminator.parameters(), strict=True)))

    trainer = make_trainer(-1, log, Watch())
    trainer.fit(model, loader(make_batches(2, size=16)))
    assert trainer.global_step == len(log.seen) == 28
    assert moved == [False, False, *[True] * 26]
    assert rates[:2] == [[1e-4]] * 2
    assert rates[2 : 2 + 22] == [[1e-4, 4e-4]] * 22
    assert rates[24:26] == [pytest.approx([1e-4 * 89 / 90, 4e-4 * 89 / 90])] * 2
    assert rates[26:] == [pytest.approx([1e-4 * 88 / 90, 4e-4 * 88 / 90])] * 2
    assert steps[:4] == [[1], [2], [1, 1], [2, 2]], "fresh optimizers"
    for row in log.seen[:2]:
        assert set(row) == {"hole", "valid", "tv", "generator"}
        torch.testing.assert_close(row["generator"], 5 * row["hole"] + row["valid"])
    for row in log.seen[2:]:
        assert set(row) == {"hole", "valid", "tv", "adversarial", "generator", "real", "fake", "discriminator"}
        total = 5 * row["hole"] + row["valid"] + 0.001 * row["adversarial"] + 0.1 * row["tv"]
        torch.testing.assert_close(row["generator"], total)
        torch.testing.assert_close(row["discriminator"], 0.5 * (row["real"] + row["fake"]))


def test_warm_up_does_not_use_vgg() -> None:
    warm_up, main = make().stages()
    stages = (dataclasses.replace(warm_up, epochs=1), dataclasses.replace(main, epochs=1))
    model, log, calls = make(variant="paper", stages=stages), Outputs(), list[int]()
    model.vgg.register_forward_hook(lambda module, args, output: calls.append(model.trainer.global_step))
    make_trainer(-1, log).fit(model, loader(make_batches(2, size=16)))
    assert calls == [2] * 3 + [3] * 3
    row = {name: float(value) for name, value in log.seen[-1].items()}
    expected = sum(
        getattr(Weights(), name) * row[name] for name in ("hole", "valid", "adversarial", "perceptual", "style", "tv")
    )
    assert row["generator"] == pytest.approx(expected, rel=1e-5)


@of_each_row
def test_every_row_trains(arguments: dict[str, Any]) -> None:
    model, log = make(weights=NO_VGG, stages=(Stage(update="generator_first"),), **arguments), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(1, log).fit(model, loader(make_batches(1, size=32)))
    assert all(value.isfinite() for value in log.seen[0].values())
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters() if "bias" not in name)


def test_half_precision() -> None:
    log, model = Outputs(), make(variant="paper", stages=(Stage(update="generator_first"),))
    make_trainer(1, log, precision="bf16-mixed").fit(model, loader(make_batches(1, size=32)))
    assert set(log.seen[0]) == {*vars(Weights()), "generator", "discriminator"}
    assert all(value.isfinite() for value in log.seen[0].values())


def test_missing_vgg_weights_stop_a_run_before_its_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path))
    batches = loader(make_batches(1, size=16))
    with pytest.raises(UserError, match=r"vgg19-dcbb9e9d.pth.*lit_inpaint.fetch vgg19.*random"):
        make_trainer(1).fit(make(vgg="imagenet"), batches)
    make_trainer(1).fit(make(vgg="imagenet", weights=NO_VGG), batches)
    only_later = (Stage("a", discriminator=False, iterations=1), Stage("b", weights={"style": 1.0}))
    with pytest.raises(UserError, match="vgg19"):
        make_trainer(1).fit(make(vgg="imagenet", stages=only_later, weights=NO_VGG), batches)


def test_overfits_four_images() -> None:
    """Start from larger weights with a suitable rate; from the paper's small ones, hundreds of steps change little."""
    photographs = [photograph(pixels) for pixels in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())]
    image, mask = torch.cat(photographs), torch.zeros(4, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["astronaut", "cat", "coffee", "rocket"])
    optimizer, stages = Adam(lr=5e-4, betas=(0.5, 0.999)), (Stage(update="generator_first"),)
    model = make(width=16, discriminator_width=8, weights=NO_VGG, generator_optimizer=optimizer, stages=stages)
    make_trainer(80).fit(model, loader([batch] * 80))
    assert float(psnr(model.eval().complete(image, mask), image).mean()) > 23.5  # 19.5 at first, 25 when measured


def photograph(pixels: npt.NDArray[Any]) -> Tensor:
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    side = min(image.shape[2:])
    return interpolate(image[:, :, :side, :side], size=(32, 32), mode="area")


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write deepgin`."""
    expected, found = golden.read("deepgin"), golden.measure("deepgin")
    assert found.keys() == expected.keys() == {*vars(Weights()), "generator", "discriminator"}
    warm_up = golden.DEEPGIN[0].iterations
    assert warm_up is not None
    for term, values in found.items():
        late = term not in ("hole", "valid", "tv", "generator")
        assert len(values) == golden.STEPS - late * warm_up
        assert values == pytest.approx(expected[term], rel=1e-3), term
