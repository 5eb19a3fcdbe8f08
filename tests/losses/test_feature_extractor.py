"""FeatureExtractor's guarantees, with a network that would break each of them as an ordinary child module."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from lit_inpaint.losses.feature_extractor import FeatureExtractor


class Features(nn.Module):
    """Weights, running statistics, dropout: everything that training mode or an optimizer would change."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(5, 7, 3))

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.layers(image))


class Paper(nn.Module):
    """A trained layer and a loss with a feature extractor."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Conv2d(3, 3, 1)
        self.loss = nn.ModuleDict({"perceptual": FeatureExtractor(Features())})

    @property
    def frozen(self) -> FeatureExtractor:
        return cast(FeatureExtractor, self.loss["perceptual"])


@pytest.fixture
def paper() -> Paper:
    torch.manual_seed(0)
    return Paper()


def tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def test_it_computes_what_the_network_computes(paper: Paper) -> None:
    image = torch.rand(2, 3, 8, 8)
    alone = copy.deepcopy(paper.frozen.network).eval()
    assert torch.equal(paper.frozen(image), alone(image))


def test_it_passes_several_inputs_and_any_output() -> None:
    class Pair(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
            return {"sum": a + b}

    assert torch.equal(FeatureExtractor(Pair())(torch.ones(2), torch.ones(2))["sum"], torch.full((2,), 2.0))


def test_its_weights_require_no_gradient(paper: Paper) -> None:
    assert not any(p.requires_grad for p in paper.frozen.network.parameters())
    paper.requires_grad_(False).requires_grad_(True)
    assert not any(p.requires_grad for p in paper.frozen.network.parameters())
    assert all(p.requires_grad for p in paper.parameters())


def test_gradients_pass_to_the_input(paper: Paper) -> None:
    image = torch.rand(2, 3, 8, 8)
    paper.frozen(paper.generator(image)).square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in paper.generator.parameters())
    assert all(p.grad is None for p in paper.frozen.network.parameters())


def test_it_stays_in_eval_mode(paper: Paper) -> None:
    before = [x.clone() for x in tensors(paper.frozen.network)]
    image = torch.rand(2, 3, 8, 8)
    for module in (paper.train(), paper.eval().train(True), paper):
        module.frozen.train()
        assert not any(module.training for module in module.frozen.network.modules())
        assert torch.equal(module.frozen(image), module.frozen(image)), "no dropout"
    assert all(torch.equal(x, y) for x, y in zip(tensors(paper.frozen.network), before, strict=True)), "no new statistics"


def test_it_is_in_no_list_of_the_parent(paper: Paper) -> None:
    hidden = {id(x) for x in tensors(paper.frozen.network)}
    assert len(hidden) == 9
    assert hidden.isdisjoint(id(x) for x in tensors(paper))
    assert [name for name, _ in paper.named_parameters()] == ["generator.weight", "generator.bias"]
    assert list(paper.named_buffers()) == []
    assert not any(isinstance(module, Features) for module in paper.modules())
    assert list(paper.state_dict()) == ["generator.weight", "generator.bias"]
    assert list(paper.frozen.state_dict()) == []


def test_initialization_of_the_parent_does_not_reset_it(paper: Paper) -> None:
    def zero(module: nn.Module) -> None:
        for p in module.parameters(recurse=False):
            nn.init.zeros_(p)

    paper.apply(zero)
    assert paper.generator.weight.abs().max().item() == 0
    assert float(paper.frozen(torch.rand(1, 3, 8, 8)).abs().max()) > 0


def walk(node: object) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from walk(value)


def test_a_checkpoint_holds_none_of_its_tensors(paper: Paper) -> None:
    """A checkpoint of all parameters of the parent and their optimizer, after a step."""
    optimizer = torch.optim.Adam(paper.parameters())
    paper.frozen(paper.generator(torch.rand(2, 3, 8, 8))).square().mean().backward()
    optimizer.step()
    file = io.BytesIO()
    torch.save({"state_dict": paper.state_dict(), "optimizer_states": [optimizer.state_dict()]}, file)
    file.seek(0)
    saved = list(walk(torch.load(file, weights_only=True)))
    assert len(saved) == 2 + 2 * 3, "two tensors, and Adam's two moments and step for each"
    for hidden in tensors(paper.frozen.network):
        assert not any(x.shape == hidden.shape and torch.equal(x, hidden) for x in saved)


def test_strict_loading_works_without_it(paper: Paper) -> None:
    other = Paper()
    kept = [x.clone() for x in tensors(other.frozen.network)]
    result = other.load_state_dict(paper.state_dict(), strict=True)
    assert result.missing_keys == []
    assert result.unexpected_keys == []
    assert torch.equal(other.generator.weight, paper.generator.weight)
    assert all(torch.equal(x, y) for x, y in zip(tensors(other.frozen.network), kept, strict=True))


@pytest.mark.parametrize(
    ("move", "dtype"),
    [
        (lambda paper: paper.double(), torch.float64),
        (lambda paper: paper.to(torch.float16), torch.float16),
        (lambda paper: paper.bfloat16(), torch.bfloat16),
    ],
)
def test_it_follows_the_dtype(paper: Paper, move: Callable[[Paper], Paper], dtype: torch.dtype) -> None:
    assert move(paper) is paper
    assert all(x.dtype == dtype for x in tensors(paper.frozen.network) if x.is_floating_point())
    assert not any(p.requires_grad for p in paper.frozen.network.parameters())
    assert paper.generator.weight.dtype == dtype


def test_it_follows_the_device(paper: Paper) -> None:
    paper.to("meta")
    assert all(x.device.type == "meta" for x in tensors(paper.frozen.network))
    assert not any(p.requires_grad for p in paper.frozen.network.parameters())


def test_it_follows_the_memory_format(paper: Paper) -> None:
    paper.to(memory_format=torch.channels_last)
    weights = [p for p in paper.frozen.network.parameters() if p.ndim == 4]
    assert len(weights) == 2
    assert all(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)


def test_it_can_be_moved_itself(paper: Paper) -> None:
    assert paper.frozen.double() is paper.frozen
    assert next(paper.frozen.network.parameters()).dtype == torch.float64
    assert paper.generator.weight.dtype == torch.float32


def test_it_moves_inside_another(paper: Paper) -> None:
    outer = FeatureExtractor(nn.Sequential(paper.frozen, nn.Conv2d(7, 1, 1))).double()
    assert outer(torch.rand(1, 3, 8, 8, dtype=torch.float64)).dtype == torch.float64


def test_a_deep_copy_is_complete_and_independent(paper: Paper) -> None:
    twin = copy.deepcopy(paper)
    image = torch.rand(2, 3, 8, 8)
    assert torch.equal(twin.frozen(image), paper.frozen(image))
    assert {id(x) for x in tensors(twin.frozen.network)}.isdisjoint(id(x) for x in tensors(paper.frozen.network))
    assert not any(p.requires_grad for p in twin.frozen.network.parameters())
    twin.train().double()
    assert not any(module.training for module in twin.frozen.network.modules())
    assert next(twin.frozen.network.parameters()).dtype == torch.float64
    assert next(paper.frozen.network.parameters()).dtype == torch.float32


def test_repr(paper: Paper) -> None:
    assert repr(paper.frozen) == "FeatureExtractor(Features)"
