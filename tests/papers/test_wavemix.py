"""WaveMix against the public code's outputs and counts, the paper's losses and stages, and a block by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import golden
import numpy as np
import parity_fixtures as parity
import pytest
import torch
from skimage import data
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv_transpose2d, gelu, interpolate

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import psnr, ssim
from lit_inpaint.nets.haar import haar
from lit_inpaint.papers import WaveMix
from lit_inpaint.papers.wavemix import WaveMixBlock, Weights
from lit_inpaint.published import tables
from lit_inpaint.settings import SGD, AdamW, Stage
from lit_inpaint.types import Batch, composite, empty_holes

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "official": {"variant": "official"},
    "wavepaint": {"variant": "wavepaint"},
    "one module": {"modules": 1},
    "two levels": {"levels": 2},
    "three levels": {"levels": 3, "dimension": 24},
    "no dropout": {"dropout": 0.0, "expansion": 4},
}
of_each_variant = pytest.mark.parametrize("arguments", VARIANTS.values(), ids=VARIANTS)


def make(**arguments: Any) -> WaveMix:
    """Build a narrow network of two modules."""
    torch.manual_seed(0)
    return WaveMix(**{"modules": 2, "blocks": 2, "dimension": 16, **arguments})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Counts and the public code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "exact"),
    [
        ({}, 10_934_544),
        ({"variant": "official"}, 10_936_848),
        ({"variant": "official", "modules": 1}, 2_734_212),
        ({"variant": "official", "modules": 2}, 5_468_424),
        ({"variant": "official", "modules": 1, "dimension": 96}, 1_545_372),
        ({"variant": "official", "modules": 3, "dimension": 96}, 4_636_116),
        ({"variant": "wavepaint", "blocks": 4}, 6_690_608),
        ({"variant": "wavepaint"}, 10_681_520),
        ({"variant": "wavepaint", "modules": 8, "blocks": 4, "expansion": 4}, 15_486_560),
    ],
    ids=str,
)
def test_parameter_counts(arguments: dict[str, Any], exact: int) -> None:
    assert count(WaveMix(**arguments).generator) == exact


def test_14_million_is_the_last_module_counted_twice() -> None:
    assert (4 + 1) * count(WaveMix(variant="official", modules=1).generator) == 13_671_060
    printed = next(table for table in tables("wavemix") if table.name == "wavemix_cost").figure("WaveMix", "parameters")
    assert printed is not None
    assert round(13_671_060 / 1e6) == printed.value == 14


def official_weights(name: str) -> dict[str, Tensor]:
    """Return a fixture's state dict, without second names."""
    metadata = parity.metadata(name)
    rows = [row for row in metadata["state_dict"] if row[3] != "alias"]
    state = parity.fill_all(rows, rules=metadata["weight_fill"]["rules"])
    total = sum(float(value.double().abs().sum()) for key, value in state.items() if value.is_floating_point())
    assert total == pytest.approx(metadata["filler_check"]["sum_abs_all_filled"], rel=1e-9)
    return state


def stages_inside(model: WaveMix) -> dict[str, Tensor]:
    """Record outputs of layers of the first and the last module, under the fixtures' names."""
    first, seen = model.generator.wavemix_modules[0], dict[str, Tensor]()

    def keep(name: str, module: nn.Module, what: Any = lambda args, output: output) -> None:
        module.register_forward_hook(lambda module, args, output: seen.update({name: what(args, output)}))

    block = first.blocks[0]
    keep("m0_initial_conv", first.stem)
    keep("m0_b0_dwt_concat", block.feed_forward, lambda args, output: args[0])
    keep("m0_b0_block_out", block)
    keep("m0_last_block_out", first.blocks[-1])
    keep("m0_depthconv_out", first.depthwise)
    keep("m0_decoder_in", first.decoder, lambda args, output: args[0])
    keep("m0_out", first)
    keep("m3_out", model.generator.wavemix_modules[-1])
    return seen


CASES: list[tuple[str, dict[str, Any]]] = [
    ("wavemix_history97b502f", {"variant": "official"}),
    ("wavepaint_release", {"variant": "wavepaint", "blocks": 4}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=["official", "wavepaint"])
def test_parity_with_the_public_code(name: str, arguments: dict[str, Any]) -> None:
    model, stored = WaveMix(**arguments).eval(), parity.arrays(name)
    assert model.load_official(official_weights(name)) == []
    seen, image, mask = stages_inside(model), parity.image(96), parity.mask(96)
    with torch.no_grad():
        prediction = model(image, mask).image
    assert parity.worst(prediction, stored, "before_composite") < 2e-5  # stored float32 is 6e-6 from float64
    assert parity.worst(composite(empty_holes(image, mask), prediction, mask), stored, "out") < 2e-5
    labels = {key.split("__")[0].removeprefix("stage.") for key in stored if key.startswith("stage.")}
    assert len(labels) == 7
    for label in labels:
        assert parity.worst(seen[label.replace("decoder1_in", "decoder_in")], stored, f"stage.{label}") < 2e-5, label


def test_parity_in_training() -> None:
    """Batch statistics; dropout off."""
    metadata, stored = parity.metadata("wavemix_history97b502f_train"), parity.arrays("wavemix_history97b502f_train")
    model = WaveMix(variant="official", dropout=0.0)
    model.load_official(official_weights("wavemix_history97b502f"))
    image, mask = parity.image(96, batch=2), parity.mask(96, batch=2)
    with torch.no_grad():
        prediction = model(image, mask).image
    assert parity.worst(composite(empty_holes(image, mask), prediction, mask), stored, "out") < 1e-4
    norm = model.generator.wavemix_modules[0].blocks[0].feed_forward[4]
    for statistic in ("running_mean", "running_var"):
        expected = metadata["bn_after_one_forward"][f"layers.0.layers.0.feedforward.4.{statistic}[:8]"]
        np.testing.assert_allclose(getattr(norm, statistic)[:8].numpy(), expected, atol=1e-5)


def test_paper_is_official_without_the_plane_of_ones(batch: Batch) -> None:
    paper, official = make().eval(), make(variant="official").eval()
    weights = {name: value.clone() for name, value in paper.generator.state_dict().items()}
    for name, value in weights.items():
        if name.endswith("stem.0.weight"):
            weights[name] = torch.cat([value[:, :3], torch.zeros(8, 1, 3, 3), value[:, 3:]], dim=1)
    official.generator.load_state_dict(weights)
    with torch.no_grad():
        found, expected = (model(batch["image"], batch["mask"]).image for model in (paper, official))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


# Public state dicts ---------------------------------------------------------------------------------------------------------


def public_names(model: WaveMix) -> dict[str, Tensor]:
    """Return our weights of an "official" network under public names, second names of the last module included."""
    names = {"stem": "conv", "feed_forward": "feedforward", "deconvolution.0": "ff1", "depthwise": "depthconv"}
    state = {}
    for name, value in model.generator.state_dict().items():
        theirs = name.replace("wavemix_modules.", "layers.").replace("blocks", "layers").replace("head", "decoder2.0")
        for ours, public in names.items():
            theirs = theirs.replace(f".{ours}.", f".{public}.")
        state[theirs] = value.clone()
        if name.startswith("wavemix_modules.1."):
            state["wave" + theirs.removeprefix("layers.1")] = value.clone()
    return state


def test_load_official_drops_second_names(batch: Batch) -> None:
    model, other = make(variant="official").eval(), WaveMix(variant="official", modules=2, blocks=2, dimension=16).eval()
    state = public_names(model)
    dropped = other.load_official(state)
    assert len(dropped) == len([name for name in model.generator.state_dict() if name.startswith("wavemix_modules.1.")]) > 0
    assert all(name.startswith("wave.") for name in dropped)
    with torch.no_grad():
        found, expected = (m(batch["image"], batch["mask"]).image for m in (other, model))
    assert torch.equal(found, expected)


def test_the_fixtures_second_names_are_ours() -> None:
    rows = parity.metadata("wavemix_history97b502f")["state_dict"]
    ours = public_names(WaveMix(variant="official", modules=2, dimension=16))
    assert {row[0] for row in rows if row[3] == "alias"} == {name for name in ours if name.startswith("wave.")}


def test_load_official_is_strict() -> None:
    model = make(variant="official")
    state = public_names(model)
    with pytest.raises(
        UserError, match=r"WaveMix\(variant='official', modules=2, blocks=2, dimension=16, expansion=2, levels=1"
    ):
        make().load_official(state)
    with pytest.raises(UserError, match="neither of WaveMix-Inpainting's Model"):
        model.load_official({"weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"wave\.conv\.0\.bias .* holds something else"):
        model.load_official({**state, "wave.conv.0.bias": torch.ones(8)})
    with pytest.raises(UserError, match="do not fit"):
        model.load_official({**state, "layers.0.surplus": torch.ones(8)})
    with pytest.raises(UserError, match="do not fit"):
        model.load_official({name: value for name, value in state.items() if name != "layers.0.decoder.0.bias"})


# A block by hand ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_block_with_levels(levels: int) -> None:
    """As in comments of the public code: shared 1x1 convolutions, then kernels 4, 6, 10 with strides 2, 4, 8, concatenated."""
    torch.manual_seed(1)
    block = WaveMixBlock(24, 2, levels, 0.5, wavepaint=False).double().eval()
    p = {name: value + 0.1 * torch.randn_like(value) for name, value in block.state_dict().items() if value.is_floating_point()}
    for name in p:
        if "running_var" in name:
            p[name] = p[name].abs() + 0.5
    block.load_state_dict(p, strict=False)

    def norm(x: Tensor, name: str) -> Tensor:
        kinds = ("running_mean", "running_var", "weight", "bias")
        return batch_norm(x, *(p[f"{name}.{kind}"] for kind in kinds))

    x = torch.randn(2, 24, 16, 8, dtype=torch.float64)
    low, maps = conv2d(x, p["reduction.weight"], p["reduction.bias"]), []
    for number, (kernel, stride) in enumerate([(4, 2), (6, 4), (10, 8)][:levels]):
        bands = haar(low)
        low = bands[:, :6]
        y = gelu(conv2d(bands, p["feed_forward.0.weight"], p["feed_forward.0.bias"]))
        y = norm(conv2d(y, p["feed_forward.3.weight"], p["feed_forward.3.bias"]), "feed_forward.4")
        weight = p[f"deconvolution.{number}.weight"]
        assert weight.shape == (24, 24 // levels, kernel, kernel)
        maps.append(conv_transpose2d(y, weight, p[f"deconvolution.{number}.bias"], stride=stride, padding=1))
        assert maps[-1].shape[2:] == x.shape[2:]
    y = conv2d(torch.cat(maps, dim=1), p["depthwise.0.weight"], p["depthwise.0.bias"], padding=2, groups=24)
    with torch.no_grad():
        torch.testing.assert_close(block(x), norm(gelu(y), "depthwise.2"))


def test_dropout_is_in_each_block() -> None:
    for model, probability in ((WaveMix(modules=1), 0.5), (make(dropout=0.25), 0.25)):
        found = [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)]
        assert found == [probability] * sum(len(step.blocks) for step in model.generator.wavemix_modules)


# Shapes, range, polarity ----------------------------------------------------------------------------------------------------


@of_each_variant
@pytest.mark.parametrize("size", [(32, 32), (48, 96), (37, 53), (5, 12)])
def test_output_shapes(size: tuple[int, int], arguments: dict[str, Any]) -> None:
    with torch.no_grad():
        prediction = make(**arguments)(torch.rand(2, 3, *size), torch.zeros(2, 1, *size))
    assert prediction.image.shape == (2, 3, *size)
    assert dict(prediction.stages) == {}


@pytest.mark.parametrize("levels", [1, 2])
def test_padding_is_replicated(levels: int) -> None:
    model, unit = make(levels=levels).eval(), 2 ** (levels + 1)
    image, mask = torch.rand(1, 3, 21, 30), (torch.rand(1, 1, 21, 30) > 0.6).float()
    rows, columns = (torch.arange(side + -side % unit).clamp(max=side - 1) for side in (21, 30))
    with torch.no_grad():
        whole = model(image[:, :, rows][..., columns], mask[:, :, rows][..., columns]).image
        assert torch.equal(model(image, mask).image, whole[..., :21, :30])


@pytest.mark.parametrize("size", [(1, 1), (9, 40), (37, 53), (64, 64)])
def test_complete_takes_any_size(size: tuple[int, int]) -> None:
    image, mask = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.6).float()
    completed = make(levels=2).eval().complete(image, mask)
    assert completed.shape == image.shape
    assert torch.equal(completed * (1 - mask), image * (1 - mask))
    assert completed.isfinite().all()


def test_batches_are_not_changed(batch: Batch) -> None:
    before = {key: batch[key].clone() for key in ("image", "mask")}
    model = make()
    model.generator_losses(batch, model(batch["image"], batch["mask"]))
    assert all(torch.equal(batch[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimension": 18}, "dimension is 18; it takes a multiple of 4"),
        ({"dimension": 16, "levels": 3}, "multiple of 4 and of levels, 3"),
        ({"variant": "wavepaint", "levels": 2}, "WavePaint's blocks have one level"),
        ({"modules": 0}, "modules is 0"),
        ({"levels": 0}, "levels is 0"),
    ],
)
def test_impossible_numbers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(**arguments)


# Losses ---------------------------------------------------------------------------------------------------------------------


def test_losses(batch: Batch) -> None:
    model = make().double().eval()
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
    assert make().weights == Weights()


def test_ssim_depends_on_the_holes(batch: Batch) -> None:
    """The public code's does not: for known pixels of a composite it is 0, without a gradient."""
    model = make()
    prediction = model(batch["image"], batch["mask"])
    prediction.image.retain_grad()
    term = model.generator_losses(batch, prediction)["ssim"]
    assert isinstance(term, Tensor)
    assert term.item() > 0.01
    term.backward()
    gradient = prediction.image.grad
    assert bool((gradient * batch["mask"]).any())
    assert not bool((gradient * (1 - batch["mask"])).any())


@of_each_variant
def test_every_parameter_gets_a_gradient(arguments: dict[str, Any], batch: Batch) -> None:
    model = make(**arguments)
    prediction = model(batch["image"], batch["mask"])
    terms = [term for term in model.generator_losses(batch, prediction).values() if isinstance(term, Tensor)]
    sum(terms[1:], terms[0]).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    assert model.discriminator is None


# Training -------------------------------------------------------------------------------------------------------------------


def test_training_as_in_appendix_a() -> None:
    model = make()
    assert model.generator_optimizer == AdamW(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    assert model.discriminator_optimizer is None
    first, second = model.stages()
    assert (first.epochs, first.generator_optimizer, first.players) == (50, None, ("generator",))
    assert (second.epochs, second.generator_optimizer) == (50, SGD(lr=1e-3, momentum=0.9))
    assert second.players == ("generator",)
    assert model.training_settings.clip_generator is None


def test_second_half_is_sgd() -> None:
    """Two epochs of two batches for 100 epochs: the run ends by itself, and its last steps are plain momentum."""
    stages = tuple(Stage(name, discriminator=False, epochs=1, generator_optimizer=o) for name, o in (("a", None), ("b", SGD())))
    model, outputs = make(stages=stages), Outputs()
    trainer = make_trainer(-1, outputs)
    trainer.fit(model, loader(make_batches(2, size=16)))
    assert len(outputs.seen) == trainer.global_step == 4
    built = model.configure_optimizers()
    assert [type(optimizer) for optimizer in built] == [torch.optim.AdamW, torch.optim.SGD]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@of_each_variant
def test_trains_through_the_engine(arguments: dict[str, Any], precision: str) -> None:
    model, outputs = make(**arguments), Outputs()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    make_trainer(1, outputs, precision=precision).fit(model, loader(make_batches(1, size=32)))
    (seen,) = outputs.seen
    assert seen.keys() == {"ssim", "mae", "generator"}
    torch.testing.assert_close(seen["generator"], 0.75 * seen["ssim"] + 0.25 * seen["mae"])
    assert seen["generator"].isfinite()
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())


@of_each_variant
def test_checkpoints(arguments: dict[str, Any], tmp_path: Path, batch: Batch) -> None:
    model = make(**arguments)
    trainer = make_trainer(1)
    trainer.fit(model, loader(make_batches(1, size=32)))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = lit_inpaint.load(tmp_path / "last.ckpt")
    assert isinstance(again, WaveMix)
    assert dict(again.hparams) == dict(model.hparams)
    with torch.no_grad():
        found, expected = (m.eval()(batch["image"], batch["mask"]).image for m in (again, model))
    assert torch.equal(found, expected)


def test_overfits_two_images() -> None:
    """Dropout included."""
    image = torch.cat([photograph(pixels) for pixels in (data.astronaut(), data.chelsea())])
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 10:22, 10:22] = 1
    batch = Batch(image=image, mask=mask, name=["astronaut", "cat"])
    torch.manual_seed(0)
    model = WaveMix(modules=2, blocks=2, dimension=32, stages=(Stage(discriminator=False),))
    make_trainer(200).fit(model, loader([batch] * 200))
    assert float(psnr(model.eval().complete(image, mask), image).mean()) > 31


def photograph(pixels: np.ndarray[Any, Any]) -> Tensor:
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    side = min(image.shape[2:])
    return interpolate(image[:, :, :side, :side], size=(32, 32), mode="area")


def test_published_tables() -> None:
    stl10, _, small, large = tables("wavemix")
    assert set(WaveMix.published_as) <= set(stl10.figures)
    assert stl10.figures["WaveMix"]["all"] == {"fid": 64.784, "ssim": 0.902}
    assert (len(small.figures), len(large.figures)) == (2, 9)
    for table in (small, large):
        for method in table.figures:
            assert WaveMix(**arguments_of(method)).generator, "each row is a network that can be built"


def arguments_of(method: str) -> dict[str, Any]:
    """From "7 blocks, 96 channels, 2 modules, 1 level, half size"."""
    blocks, dimension, modules, levels = (int(part.split()[0]) for part in method.split(", ")[:4])
    return {"blocks": blocks, "dimension": dimension, "modules": modules, "levels": levels}


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write`."""
    expected, found = golden.read("wavemix"), golden.measure("wavemix")
    assert found.keys() == expected.keys() == {"ssim", "mae", "generator"}
    for term, values in found.items():
        assert len(values) == golden.STEPS
        assert values == pytest.approx(expected[term], rel=1e-3), term
