"""Batch norm over all processes: two with half batches compute the same as one with whole batches."""

from collections.abc import Callable
from typing import Any

import pytest
import tiny_pair
import torch
from tiny_pair import ALTERNATING, CLIPPED, MICRO_BATCHES, ORDERS, SIMULTANEOUS, Case, difference
from torch import nn

from lit_inpaint.engine.sync_batchnorm import SyncBatchNorm, synchronized_forward
from lit_inpaint.settings import Stage

pytestmark = pytest.mark.xdist_group("tiny pairs, batch norm")
Pair = Callable[[str], list[dict[str, Any]]]

EPS = 1e-3  # the gradient of a bias before batch norm is zero plus noise: see `Case.eps`
RUNNING_STATISTICS = (Stage(iterations=5), Stage(eval_modules=("generator.1",), frozen=("discriminator.1",)))
EQUAL = {order: Case(stages, "shared", eps=EPS) for order, stages in ORDERS.items()}
EQUAL["by running statistics"] = Case(RUNNING_STATISTICS, "shared", eps=EPS)
for order, stages in {"simultaneous": SIMULTANEOUS, "alternating": ALTERNATING}.items():
    EQUAL[f"{order}, micro-batches"] = Case(stages, "shared", MICRO_BATCHES, eps=EPS)
    EQUAL[f"{order}, clipped"] = Case(stages, "shared", CLIPPED, eps=EPS)
for order, stages in {"simultaneous": SIMULTANEOUS, "alternating": ALTERNATING}.items():
    EQUAL[f"{order}, gradient penalty"] = Case(stages, "shared", eps=EPS, penalty=True)
MEASURED = {"measured": Case(batch_norm="shared", validation=5, eps=EPS)}
OTHERS = {
    "float": Case(batch_norm="shared", precision="32-true", eps=EPS),
    "bf16": Case(ALTERNATING, "shared", precision="bf16-mixed"),
    "each its own": Case(batch_norm="own", eps=EPS),
    "collectives": Case(batch_norm="shared", count_collectives=True),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return tiny_pair.fit_pairs(tmp_path_factory.mktemp("pair"), EQUAL | MEASURED | OTHERS)


@pytest.mark.parametrize("name", [*EQUAL, *MEASURED])
def test_two_processes_learn_the_same_as_one(name: str, pair: Pair) -> None:
    """Running statistics are part of the weights compared."""
    first, second = pair(name)
    one = tiny_pair.fit((EQUAL | MEASURED)[name], 1)
    assert difference(first["weights"], second["weights"]) == 0
    bound = 1e-11 if "penalty" in name else 1e-13  # second derivatives enlarge the rounding
    assert difference(first["weights"], one["weights"]) < bound
    assert first["weights"]["generator.1.num_batches_tracked"] == one["weights"]["generator.1.num_batches_tracked"]


def test_two_processes_learn_the_same_in_single_precision(pair: Pair) -> None:
    first, second = pair("float")
    assert difference(first["weights"], second["weights"]) == 0
    assert difference(first["weights"], tiny_pair.fit(OTHERS["float"], 1)["weights"]) < 1e-4


def test_bf16_runs_and_the_processes_agree(pair: Pair) -> None:
    first, second = pair("bf16")
    assert difference(first["weights"], second["weights"]) == 0
    assert all(tensor.isfinite().all() for tensor in first["weights"].values())


def test_metrics_are_those_of_one_process(pair: Pair) -> None:
    first, second = pair("measured")
    one = tiny_pair.fit(MEASURED["measured"], 1)
    assert first["counted"] == second["counted"] == one["counted"] == [5, 5, 5]
    assert first["measured"] == second["measured"]
    for a, b in zip(first["measured"], one["measured"], strict=True):
        assert {key: f"{value:.8g}" for key, value in a.items()} == {key: f"{value:.8g}" for key, value in b.items()}


def test_without_the_plugin_each_process_normalizes_by_its_own_half(pair: Pair) -> None:
    """So that the tests above can fail."""
    first, second = pair("each its own")
    assert difference(first["weights"], second["weights"]) > 1e-3
    assert difference(first["weights"], tiny_pair.fit(OTHERS["each its own"], 1)["weights"]) > 1e-3


def test_a_layer_reduces_once_in_the_forward_and_once_in_the_backward(pair: Pair) -> None:
    """In three batches: one layer applied once, another three times, and two flags per batch."""
    assert [found["collectives"] for found in pair("collectives")] == [{"all_reduce": 3 * (2 * (1 + 3) + 2)}] * 2


# The layer in one process -----------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mock a process group of one process."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (4, 3, 5, 2)])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracking", [True, False])
def test_in_one_process_it_is_batch_norm(shape: tuple[int, ...], momentum: float | None, affine: bool, tracking: bool) -> None:
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    layers = [kind(3, momentum=momentum, affine=affine, track_running_stats=tracking).double() for _ in range(2)]
    for number in range(3):
        inputs = [torch.randn(shape, generator=torch.Generator().manual_seed(number)).double() for _ in layers]
        outputs = [layers[0](inputs[0].requires_grad_()), synchronized_forward(layers[1], inputs[1].requires_grad_())]
        for output in outputs:
            (output**3).sum().backward()
        torch.testing.assert_close(outputs[0], outputs[1])
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(layers[0].state_dict(), layers[1].state_dict())
    for one, other in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("affine", [True, False])
def test_in_one_process_second_derivatives_are_those_of_batch_norm(affine: bool) -> None:
    layers = [nn.BatchNorm2d(3, affine=affine).double() for _ in range(2)]
    found = []
    for layer, call in zip(layers, (layers[0], lambda x: synchronized_forward(layers[1], x)), strict=True):
        x = torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
        (gradient,) = torch.autograd.grad((call(x) ** 3).sum(), x, create_graph=True)
        gradient.square().sum().backward()
        found.append([x.grad, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("alone")
def test_statistics_have_at_least_single_precision() -> None:
    layer = nn.BatchNorm2d(3)
    far = 1000 + torch.randn(4, 3, 5, 5)
    assert synchronized_forward(layer, far.bfloat16()).dtype == torch.bfloat16
    assert layer.running_mean is not None
    assert layer.running_mean.dtype == torch.float32
    torch.testing.assert_close(layer.running_mean, far.bfloat16().float().mean((0, 2, 3)) * 0.1)


def test_apply_and_revert() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    plugin = SyncBatchNorm()
    assert plugin.apply(network) is network
    assert list(network[1].__dict__)[-1] == "forward"
    assert plugin.revert(network) is network
    assert "forward" not in network[1].__dict__
    assert list(network.state_dict()) == list(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict())
