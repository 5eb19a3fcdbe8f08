"""Numbers of batches are read in order, as many batches later as asked for, and none is lost."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_inpaint.engine.delayed_max import DELAY_ON_GPU, DelayedMax


def trainer(step: int, device: str = "cpu") -> Any:
    return SimpleNamespace(world_size=1, global_step=step, strategy=SimpleNamespace(root_device=torch.device(device)))


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_number_is_read_after_the_delay(delay: int) -> None:
    numbers: DelayedMax[str] = DelayedMax(delay)
    read = []
    for step in range(1, 8):
        numbers.add(trainer(step), torch.tensor(10 * step), f"batch {step}")
        read += [(step, *found) for found in numbers.due(trainer(step))]
    assert read == [(step + delay, step, 10 * step, f"batch {step}") for step in range(1, 8 - delay)]
    assert [step for step, *_ in numbers.rest()] == list(range(8 - delay, 8))
    assert list(numbers.rest()) == []


def test_the_default_is_at_once_on_cpus_and_later_on_gpus() -> None:
    numbers: DelayedMax[None] = DelayedMax()
    numbers.add(trainer(1), torch.tensor(1), None)
    numbers.add(trainer(2), torch.tensor(2), None)
    assert list(numbers.due(trainer(DELAY_ON_GPU, "cuda"))) == []
    assert list(numbers.due(trainer(DELAY_ON_GPU + 1, "cuda"))) == [(1, 1, None)]
    assert list(numbers.due(trainer(2))) == [(2, 2, None)]


def test_cleared_numbers_are_not_read() -> None:
    numbers: DelayedMax[None] = DelayedMax()
    numbers.add(trainer(1), torch.tensor(1), None)
    numbers.clear()
    assert list(numbers.rest()) == []
