"""EdgeConnect against its public networks, losses by hand, stages, edges in batches and at inpainting time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import parity_fixtures as parity
import pytest
import torch
from tiny_gan import Outputs, loader, make_batches, make_trainer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, normalize, relu

import lit_inpaint
from lit_inpaint.edges import to_gray
from lit_inpaint.errors import UserError
from lit_inpaint.official_weights.edgeconnect import our_name
from lit_inpaint.papers import EdgeConnect
from lit_inpaint.papers.edgeconnect import STAGES, Weights
from lit_inpaint.settings import Stage
from lit_inpaint.types import Batch, composite

SIZE = 256
NO_VGG = Weights(perceptual=0.0, style=0.0)


def make(**arguments: Any) -> EdgeConnect:
    torch.manual_seed(0)
    return EdgeConnect(**{"width": 2, "discriminator_width": 2, "vgg": "random", **arguments})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The public networks ----------------------------------------------------------------------------------------------------------


def official(name: str) -> dict[str, Tensor]:
    """Weights of a fixture: the vectors of spectral norm after 20 power iterations, the discriminators' second names."""
    metadata = parity.metadata(name)
    state = parity.fill_roles([row for row in metadata["state"] if row[3] == "filled"], metadata["gain"])
    for key in [key for key in state if key.endswith("weight_orig")]:
        layer = key.removesuffix("weight_orig")
        weight = state[key].double()
        matrix = (weight.transpose(0, 1) if layer in ("decoder.0.", "decoder.3.") else weight).flatten(1)
        u = normalize(state[f"{layer}weight_u"].double(), dim=0)
        for _ in range(metadata["sn_power_iterations"]):
            v = normalize(matrix.T @ u, dim=0)
            u = normalize(matrix @ v, dim=0)
        assert float(u @ matrix @ v) == pytest.approx(metadata["sn_sigma"][layer.rstrip(".")], rel=1e-6)
        state |= {f"{layer}weight_u": u.float(), f"{layer}weight_v": v.float()}
    aliases = {row[0]: state[row[3].removeprefix("alias:")] for row in metadata["state"] if row[3].startswith("alias:")}
    return state | aliases


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    names = ("edge", "inpaint", "edge_disc", "inpaint_disc")
    return {name: official(f"edgeconnect_{name}") for name in names}


def load(model: EdgeConnect, states: dict[str, dict[str, Tensor]]) -> list[str]:
    return model.load_official(
        {"edge": states["edge"], "inpaint": states["inpaint"]}, {"edge": states["edge_disc"], "inpaint": states["inpaint_disc"]}
    )


@pytest.fixture(scope="module")
def public(states: dict[str, dict[str, Tensor]]) -> EdgeConnect:
    model = EdgeConnect().eval()
    assert load(model, states) == [f"features.0.weight_{kind}" for kind in ("orig", "u", "v")] * 2
    model.configure_model()
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Image, mask and edges of the fixtures."""
    rng = parity.np.random.Generator(parity.np.random.PCG64(2))
    edges = torch.from_numpy((rng.random((1, 1, SIZE, SIZE)) < 0.1).astype("float32"))
    assert edges.sum() == 6686
    return parity.image(SIZE), parity.mask(SIZE), edges


def test_parameter_counts(public: EdgeConnect) -> None:
    model = public
    assert [count(part) for part in (model.generator.edge, model.generator.inpaint)] == [10_761_089, 10_774_595]
    assert [count(part) for part in (model.discriminator.edge, model.discriminator.inpaint)] == [2_762_752, 2_763_776]
    parts = (model.generator.edge.encoder, model.generator.edge.middle, model.generator.edge.decoder)
    assert [count(part) for part in parts] == [665_216, 9_437_184, 658_689]


@pytest.mark.parametrize("name", ["edge", "inpaint"])
def test_parity_of_the_generators(name: str, public: EdgeConnect) -> None:
    network, stored = getattr(public.generator, name), parity.arrays(f"edgeconnect_{name}")
    found: dict[str, Tensor] = {}
    for place in ("encoder", "middle.3", "middle.7"):
        network.get_submodule(place).register_forward_hook(lambda m, a, output, place=place: found.update({place: output}))
    image, mask, edges = inputs()
    with torch.no_grad():
        prediction = public.generator(image, mask, edges, "edge" if name == "edge" else "true_edges")
    output = prediction.stages["predicted_edges"] if name == "edge" else prediction.image
    assert parity.worst_crop(output, stored, "output") < 2e-5
    for place, value in found.items():
        assert parity.worst_crop(value, stored, f"stage:{place}") < 2e-5 * float(value.abs().mean()), place
    assert len(found) == 3


@pytest.mark.parametrize("name", ["edge", "inpaint"])
def test_parity_of_the_discriminators(name: str, public: EdgeConnect) -> None:
    stored = parity.arrays(f"edgeconnect_{name}_disc")
    image, _, edges = inputs()
    network = getattr(public.discriminator, name)
    with torch.no_grad():
        features = network.features(torch.cat([to_gray(image), edges], dim=1) if name == "edge" else image)
    assert [x.shape[1:] for x in features] == [(64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 31, 31), (1, 30, 30)]
    assert parity.worst_crop(features[-1], stored, "logits") < 2e-5
    assert parity.worst_crop(features[-1].sigmoid(), stored, "output") < 2e-5
    for number in (1, 3, 4):
        assert parity.worst_crop(features[number - 1], stored, f"stage:conv{number}") < 2e-5


def public_names(model: EdgeConnect, states: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return our weights under the names of the public code."""
    parts = {"edge": model.generator.edge, "inpaint": model.generator.inpaint}
    parts |= {"edge_disc": model.discriminator.edge, "inpaint_disc": model.discriminator.inpaint}
    found = {}
    for part, network in parts.items():
        own = network.state_dict()
        found[part] = {name: own[our_name(name.replace("features.0.", "conv1.0.")) or ""] for name in states[part]}
    return found


def test_weights_of_ours_under_public_names_load_again(states: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    first, second = make(), make()
    for parameter in first.parameters():
        nn.init.normal_(parameter)
    assert not torch.equal(first.generator.inpaint.decoder[2].weight, second.generator.inpaint.decoder[2].weight)
    load(second, public_names(first, states))
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    trainer = make_trainer(1)
    trainer.strategy.connect(first)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    again = lit_inpaint.load(tmp_path / "x.ckpt")
    (batch,) = make_batches(1, size=32)
    first.configure_model()
    assert torch.equal(*(model.eval().complete(batch["image"], batch["mask"]) for model in (first, again)))


def test_weights_that_do_not_fit_are_one_line(states: dict[str, dict[str, Tensor]]) -> None:
    model = make()
    tiny = public_names(model, states)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    edge, inpaint, edge_disc, inpaint_disc = (tiny[part] for part in ("edge", "inpaint", "edge_disc", "inpaint_disc"))
    for generator, discriminator, message in (
        ({"inpaint": edge}, None, r"given as 'inpaint' are of EdgeModel_gen, not of InpaintingModel_gen$"),
        ({"edge": inpaint, "inpaint": edge}, None, r"given as 'edge' are of InpaintingModel_gen, not of EdgeModel_gen$"),
        ({"edge": edge}, {"edge": inpaint_disc}, r"given as 'edge' are of InpaintingModel_dis, not of EdgeModel_dis$"),
        ({"edge": edge_disc}, None, r"not weights of an EdgeConnect generator, whose first is called encoder\.1\.weight or"),
        ({"iteration": torch.tensor(1), "generator": edge}, None, r"of a file of the public code, give the entry 'generator'$"),
        ({"generator": edge}, None, r"named edge and inpaint, not generator; of a file of the public code, give the entry"),
        (
            states["inpaint"],
            None,
            r"InpaintingModel_gen does not fit this EdgeConnect; missing, unknown or of another shape are",
        ),
        ({**edge, "extra": torch.zeros(1)}, None, r"EdgeModel_gen does not fit.* 1 weights: extra$"),
        (edge, {**edge_disc, "features.0.weight_u": torch.zeros(2)}, r"EdgeModel_dis does not fit.*features.0.weight_u$"),
    ):
        with pytest.raises(UserError, match=message) as error:
            model.load_official(generator, discriminator)
        assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Edges ------------------------------------------------------------------------------------------------------------------------


def test_edges_outside_training(batch: Batch) -> None:
    """Canny's edges of known pixels, predicted edges in the holes; "official" takes the whole prediction."""
    image, mask = batch["image"], batch["mask"]
    for variant in ("paper", "official"):
        model = make(variant=variant).eval()
        with torch.no_grad():
            prediction = model(image, mask)
            known = model.edge_detector(image, mask)
            predicted, edges = prediction.stages["predicted_edges"], prediction.stages["edges"]
            assert torch.equal(edges, composite(known, predicted, mask) if variant == "paper" else predicted)
            white = torch.where(mask == 1, 1.0, image)
            expected = model.generator.inpaint(torch.cat([white, edges], dim=1)).tanh() / 2 + 0.5
            gray = torch.where(mask == 1, 1.0, to_gray(image))
            by_hand = model.generator.edge(torch.cat([gray, known, mask], dim=1)).sigmoid()
        torch.testing.assert_close(predicted, by_hand)
        torch.testing.assert_close(prediction.image, expected)


@pytest.mark.parametrize("size", [(32, 32), (37, 53), (5, 12), (1, 1)])
def test_any_size(size: tuple[int, int]) -> None:
    image, mask, model = torch.rand(1, 3, *size), torch.zeros(1, 1, *size), make().eval()
    mask[..., : size[0] // 2 + 1, : size[1] // 2 + 1] = 1
    done = model.complete(image, mask)
    assert done.shape == image.shape
    assert torch.equal(done * (1 - mask), image * (1 - mask))
    with_edges = model.complete(image, mask, edges=mask[0, 0])
    assert torch.equal(with_edges * (1 - mask), image * (1 - mask))
    assert size == (1, 1) or not torch.equal(with_edges, done)


def test_mistakes_are_one_line(batch: Batch) -> None:
    model = make()
    with pytest.raises(UserError, match=r"multiples of 4 from 12 on, not 30x32: --data.size 64"):
        model(torch.rand(1, 3, 32, 30), torch.zeros(1, 1, 32, 30))
    with pytest.raises(UserError, match=r"multiples of 4 from 24 on, not 16x16"):
        model.training_forward(Batch(image=torch.rand(1, 3, 16, 16), mask=torch.zeros(1, 1, 16, 16), name=["a"]))
    with pytest.raises(ValueError, match=r"edges are \(1, 1, 8, 8\) beside an image of \(2, 3, 32, 32\)"):
        model.complete(batch["image"], batch["mask"], torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"edges span \[0, 2\]; expected \[0, 1\], 1 = edge"):
        model.complete(batch["image"], batch["mask"], 2 * batch["mask"])
    with pytest.raises(UserError, match="width is 0"):
        make(width=0)
    stages = (Stage("first", mode="predicted"),)
    with pytest.raises(UserError, match=r"stage 'first' has no mode 'predicted'; there are edge, .*mean 'predicted_edges'"):
        make_trainer(1).fit(make(stages=stages, weights=NO_VGG), loader(make_batches(1, size=32)))


# Losses and stages ------------------------------------------------------------------------------------------------------------


def gram(x: Tensor) -> Tensor:
    return torch.einsum("bihw,bjhw->bij", x, x) / x[0].numel()


class InMode(EdgeConnect):
    """In a given mode, without a trainer."""

    given: str | None = None

    @property
    def mode(self) -> str | None:
        return self.given


def in_mode(mode: str | None, **arguments: Any) -> InMode:
    torch.manual_seed(0)
    model = InMode(width=2, discriminator_width=2, vgg="random", **arguments).eval()
    model.given = mode
    return model


@pytest.mark.parametrize(
    ("mode", "gan"), [*((mode, "nsgan") for mode in (*EdgeConnect.modes, None)), ("joint", "lsgan"), ("joint", "hinge")]
)
def test_losses(mode: str | None, gan: Any, batch: Batch) -> None:
    model = in_mode(mode, gan=gan)
    image, mask, gray = batch["image"], batch["mask"], to_gray(batch["image"])
    edges = (torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    batch = {**batch, "edges": edges}

    def cost(logits: Tensor, role: str) -> Tensor:
        if gan == "hinge":
            return {"real": relu(1 - logits), "fake": relu(1 + logits), "generator": -logits}[role].mean()
        target = torch.full_like(logits, float(role != "fake"))
        return ((logits.sigmoid() - target) ** 2).mean() if gan == "lsgan" else binary_cross_entropy(logits.sigmoid(), target)

    with torch.no_grad():
        prediction = model.training_forward(batch)
        terms = {**model.generator_losses(batch, prediction), **model.discriminator_losses(batch, prediction)}
        found = {name: term() if callable(term) else term for name, term in terms.items()}
        expected: dict[str, Tensor] = {}
        if mode in ("edge", "joint", None):
            predicted = prediction.stages["predicted_edges"]
            real, fake = (model.discriminator.edge.features(torch.cat([gray, x], dim=1)) for x in (edges, predicted))
            expected["edge_adversarial"] = cost(fake[-1], "generator")
            expected["feature_matching"] = torch.stack([(a - b).abs().mean() for a, b in zip(fake, real, strict=True)]).sum()
            expected |= {"edge_real": cost(real[-1], "real"), "edge_fake": cost(fake[-1], "fake")}
        if mode != "edge":
            output, vgg = prediction.image, model.vgg
            expected["l1"] = (output - image).abs().mean() / mask.mean()
            expected["adversarial"] = cost(model.discriminator.inpaint(output), "generator")
            expected["perceptual"] = sum((a - b).abs().mean() for a, b in zip(vgg(output)[:5], vgg(image)[:5], strict=True))
            pairs = zip(vgg(output * mask)[5:], vgg(image * mask)[5:], strict=True)
            expected["style"] = sum((gram(a) - gram(b)).abs().mean() for a, b in pairs)
            expected |= {kind: cost(model.discriminator.inpaint(x), kind) for kind, x in (("real", image), ("fake", output))}
    assert {name for name, term in found.items() if term is not None} == expected.keys()
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-9), name


def test_the_layers_of_vgg_are_not_normalized(batch: Batch) -> None:
    model = make()
    assert model.vgg.layers[:5] == tuple(f"relu{block}_1" for block in range(1, 6))
    assert model.vgg.layers[5:] == ("relu2_2", "relu3_4", "relu4_4", "relu5_2")
    first = model.vgg.load().network.state_dict()
    image = batch["image"]
    by_hand = relu(torch.conv2d(image, first["layers.0.weight"], first["layers.0.bias"], padding=1))
    torch.testing.assert_close(model.vgg(image)[0], by_hand)


def test_gradients_of_each_mode(batch: Batch) -> None:
    """With predicted edges the inpainting loss stops at the edge map; jointly it reaches the edge generator."""
    for mode, edge, inpaint in (
        ("edge", False, False),
        ("true_edges", False, True),
        ("predicted_edges", False, True),
        ("joint", True, True),
    ):
        model = in_mode(mode).train()
        prediction = model.training_forward(batch)
        loss = prediction.image.square().mean()
        if loss.requires_grad:
            loss.backward()
        for network, reached in ((model.generator.edge, edge), (model.generator.inpaint, inpaint)):
            assert all((p.grad is not None) == reached for p in network.parameters()), mode


def short() -> tuple[Stage, ...]:
    return tuple(replace(stage, iterations=2) for stage in STAGES)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_trains_through_all_stages(precision: str) -> None:
    """Each stage trains its networks and leaves the others, and the state of their spectral norm, as they are."""
    model, log, states = make(stages=short(), weights=NO_VGG), Outputs(), []

    class Watch(Outputs):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    make_trainer(8, log, Watch(), precision=precision).fit(model, loader(make_batches(8, size=32)))
    states.append({name: value.clone() for name, value in model.state_dict().items()})
    edge = {"edge_adversarial", "feature_matching", "edge_real", "edge_fake"}
    image = {"l1", "adversarial", "real", "fake"}
    totals = {"generator", "discriminator"}
    assert [set(row) for row in log.seen[::2]] == [edge | totals, image | totals, image | totals, edge | image | totals]
    assert all(value.isfinite() for row in log.seen for value in row.values())
    row = {name: float(value) for name, value in log.seen[6].items()}
    total = row["edge_adversarial"] + 10 * row["feature_matching"] + row["l1"] + 0.1 * row["adversarial"]
    assert row["generator"] == pytest.approx(total, rel=1e-5)
    assert row["discriminator"] == pytest.approx(0.5 * sum(row[name] for name in ("edge_real", "edge_fake", "real", "fake")))
    for number, changing in enumerate((("edge",), ("inpaint",), ("inpaint",), ("edge", "inpaint"))):
        before, after = states[2 * number], states[2 * number + 2]
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert {name.split(".")[1] for name in changed} == set(changing), number
        assert {name for name, _ in model.named_parameters() if name.split(".")[1] in changing} <= changed | NOISE


# Instance norm removes a constant: these biases have a gradient of rounding errors, which Adam may or may not turn into a step.
NOISE = {name for name, _ in make().named_parameters() if name.endswith("bias") and "decoder.2" not in name}


def test_a_run_resumed_within_each_stage_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    batches, states = make_batches(1, size=32) * 8, []  # a list has no state to resume from
    for stops in ((8,), (1, 3, 5, 7, 8)):
        checkpoint = None
        for stop in stops:
            model, trainer = make(stages=short(), weights=NO_VGG), make_trainer(stop)
            trainer.fit(model, loader(batches), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
            checkpoint = tmp_path / f"{stop}.ckpt"
            trainer.save_checkpoint(checkpoint)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_golden_curve() -> None:
    """After an intended change of the curve, run `python tests/papers/golden.py --write edgeconnect`."""
    expected, found = golden.read("edgeconnect"), golden.measure("edgeconnect")
    assert found.keys() == expected.keys()
    for term, values in found.items():
        assert values == pytest.approx(expected[term], rel=1e-3), term
