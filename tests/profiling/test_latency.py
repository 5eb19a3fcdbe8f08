import pytest
import torch
from tiny_gan import TinyGAN, make_tiny
from torch import nn

from lit_inpaint.papers import LPINet
from lit_inpaint.profiling import latency
from lit_inpaint.settings import Stage
from lit_inpaint.types import Batch, Prediction, Terms


def test_peak_memory_of_a_network_whose_need_is_known() -> None:
    """At its peak a stack of identities that add 1 holds its input and two more maps of the same size."""

    class Adding(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            for _ in range(4):
                image = image + 1
            return image

    model = LPINet(blocks=1)
    model.generator = Adding()
    model.forward = lambda image, mask: model.generator(image)
    kind = latency.DevicePrecision(torch.device("cpu"), "float32")
    peak = latency.benchmark_forward([model], 128, (), 1, 1, kind)[0].peak
    image, mask = 3 * 128 * 128 * 4, 128 * 128 * 4
    assert 0 <= peak - (image + mask + 2 * image) < 1024


def test_interleaved_passes_end_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow network is timed once, a fast one `runs` times; passes alternate."""
    slow, fast = LPINet(blocks=1), LPINet(blocks=1)
    calls = []

    def time_forward(model: LPINet, example: tuple[torch.Tensor, torch.Tensor], kind: latency.DevicePrecision) -> float:
        calls.append((model, len(example[0])))
        if calls.count(calls[-1]) == 1:
            return 100.0  # the first pass of a shape warms up and does not count
        return 5.0 if model is slow else 0.25

    monkeypatch.setattr(latency, "_time_forward", time_forward)
    monkeypatch.setattr(latency, "_peak_memory", lambda *arguments: 0)
    benchmarks = latency.benchmark_forward(
        [slow, fast], 16, (1, 2), 3, 1, latency.DevicePrecision(torch.device("cpu"), "float32")
    )
    assert [benchmark.timings for benchmark in benchmarks] == [{1: (5.0, 1), 2: (5.0, 1)}, {1: (0.25, 3), 2: (0.25, 3)}]
    assert calls[:4] == 2 * [(slow, 1), (fast, 1)]


def test_train_steps_are_of_the_longest_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """They start at its first batch, in training mode; one more step is run than is timed."""
    stages = (Stage("warm-up", discriminator=False, epochs=2), Stage("main", epochs=9), Stage("end", epochs=1))
    model, seen = make_tiny(stages=stages).eval(), list[tuple[int, bool, torch.Size]]()
    whole = TinyGAN.discriminator_losses

    def spy(self: TinyGAN, batch: Batch, prediction: Prediction) -> Terms:
        seen.append((self.trainer.global_step, self.training, batch["image"].shape))
        return whole(self, batch, prediction)

    monkeypatch.setattr(TinyGAN, "discriminator_losses", spy)
    timing = latency.benchmark_train_step(model, 16, 3, 5, 4, 60, torch.device("cpu"))
    assert seen == [(step, True, (3, 3, 16, 16)) for step in range(10, 15)]
    assert timing.n == 4
    assert timing.seconds > 0
    assert latency.benchmark_train_step(model, 16, 3, 5, 4, 1e-9, torch.device("cpu")).n == 1
