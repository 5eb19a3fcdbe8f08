"""The fused kernel of Adam and AdamW takes the same steps, and states of one kind go on with the other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lit_inpaint.engine.fused_adam import use_fused_adam
from lit_inpaint.settings import SGD, Adam, AdamW, OptimizerSettings


def train(network: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("settings", [Adam(lr=1e-2), AdamW(lr=1e-2, weight_decay=0.1)])
@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False), (True, True)])
def test_a_resumed_run_takes_the_same_steps_with_either_kernel(settings: OptimizerSettings, first: bool, second: bool) -> None:
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2), nn.Linear(3, 2)]
    networks[1].load_state_dict(networks[0].state_dict())
    expected, early = (settings.build(network.parameters()) for network in networks)
    train(networks[0], expected, 0, 6)
    use_fused_adam([early], first)
    train(networks[1], early, 0, 3)
    late = settings.build(networks[1].parameters())
    late.load_state_dict(copy.deepcopy(early.state_dict()))
    use_fused_adam([late], second)
    train(networks[1], late, 3, 6)
    assert late.param_groups[0]["fused"] is (True if second else None)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_on_a_cpu_the_default_stays_and_others_are_left_alone() -> None:
    network = nn.Linear(3, 2)
    adam, sgd = Adam(lr=1e-2).build(network.parameters()), SGD(lr=1e-2).build(network.parameters())
    before = copy.deepcopy(sgd.param_groups[0]["fused"])
    use_fused_adam([adam, sgd])
    assert adam.param_groups[0]["fused"] is None
    assert sgd.param_groups[0]["fused"] is before
