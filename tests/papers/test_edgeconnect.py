"""EdgeConnect against its public networks, losses by hand, stages, edges in batches and at inpainting time."""

from __future__ import annotations

import parity_fixtures as parity
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lit_inpaint.edges import to_gray
from lit_inpaint.papers import EdgeConnect

SIZE = 256


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


def test_parameter_counts() -> None:
    with torch.device("meta"):
        model = EdgeConnect()
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
