"""A NaN or infinity stops the run before it is saved and keeps the batch; finite values do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from plain_loop import ORDERS
from tiny_gan import Outputs, TinyGAN, loader, make_batches, make_tiny, make_trainer
from tiny_runs import run
from torch import Tensor

from lit_inpaint.callbacks import NaNGuard, RunCheckpoint
from lit_inpaint.callbacks.nan_guard import _any_non_finite
from lit_inpaint.errors import UserError
from lit_inpaint.papers import LPINet
from lit_inpaint.settings import Stage, Training
from lit_inpaint.types import Batch, Prediction, Terms

NAN, INF = float("nan"), float("inf")


class Steep(torch.autograd.Function):
    """Identity with an infinite gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * INF


class Steeper(TinyGAN):
    """One player's gradient, not its loss, becomes infinite in batch number 4 (from 0)."""

    def __init__(self, term: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.term = term

    def _steepened(self, terms: Terms) -> Terms:
        if self.trainer.global_step != 4 or self.term not in terms:
            return terms
        return {**terms, self.term: Steep.apply(terms[self.term])}

    def generator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        return self._steepened(super().generator_losses(batch, prediction))

    def discriminator_losses(self, batch: Batch, prediction: Prediction) -> Terms:
        return self._steepened(super().discriminator_losses(batch, prediction))


def poisoned(value: float = NAN) -> list[Batch]:
    """Eight batches; one pixel of the fifth is not finite."""
    batches = make_batches(8)
    batches[4]["image"][0, 1, 2, 3] = value
    return batches


def stopped(model: TinyGAN, batches: list[Batch], folder: Path, **options: Any) -> str:
    """Train until the guard stops the run; return its message."""
    guards = [NaNGuard(folder / "nan"), RunCheckpoint(folder / "checkpoints", every_n_steps=1)]
    with pytest.raises(UserError) as caught:
        make_trainer(8, *guards, enable_checkpointing=True, **options).fit(model, loader(batches))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("order", ORDERS)
def test_a_loss_that_is_not_finite_stops_the_run(order: str, value: float, tmp_path: Path) -> None:
    batches = poisoned(value)
    message = stopped(make_tiny(seed=7, stages=(ORDERS[order][0],)), batches, tmp_path)
    path = tmp_path / "nan" / "step_0000005_rank_0.pt"
    assert message.startswith("step 5: ")
    for name in ("l1", "generator"):
        assert f"{name} = " in message.split(" is not finite")[0]
    assert str(path) in message
    assert "--model.training.clip_generator 1" in message
    assert list(path.parent.iterdir()) == [path]
    saved = torch.load(path, weights_only=True)
    assert torch.equal(saved["image"].nan_to_num(-1), batches[4]["image"].nan_to_num(-1))
    assert torch.equal(saved["mask"], batches[4]["mask"])
    assert (saved["name"], saved["step"], saved["seed"]) == (batches[4]["name"], 5, 7)
    assert saved["losses"].keys() == {"l1", "adversarial", "real", "fake", "generator", "discriminator"}
    assert not torch.tensor(saved["losses"]["l1"]).isfinite()
    assert_saved_is_from_before(tmp_path)


def test_a_batch_that_cannot_be_written_does_not_hide_the_reason(tmp_path: Path) -> None:
    batches = make_batches(3)
    batches[1]["image"][0, 1, 2, 3] = NAN
    (tmp_path / "nan").touch()  # where the folder should be
    with pytest.raises(UserError, match=r"^step 2: l1 = nan.*the batch could not be written to \S+ \(File exists\)"):
        make_trainer(3, NaNGuard(tmp_path / "nan")).fit(make_tiny(), loader(batches))


def assert_saved_is_from_before(folder: Path) -> None:
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("term", ["l1", "real"])
@pytest.mark.parametrize("order", ORDERS)
def test_an_infinite_gradient_behind_a_finite_loss(order: str, term: str, clip: float | None, tmp_path: Path) -> None:
    training = Training(clip_generator=clip, clip_discriminator=clip, channels_last=False)
    torch.manual_seed(0)
    message = stopped(Steeper(term, stages=(ORDERS[order][0],), training=training), make_batches(8), tmp_path)
    assert message.startswith("step 5: ")
    saved = torch.load(tmp_path / "nan" / "step_0000005_rank_0.pt", weights_only=True)
    if (order, term) != ("alternating, D thrice", "real"):  # the next update in the same batch has this loss non-finite
        assert torch.tensor(saved["losses"][term]).isfinite()
    assert_saved_is_from_before(tmp_path)


@pytest.mark.parametrize("broken", [5, 7, 8])
@pytest.mark.parametrize("saved_every", [1, 3, 1000])
@pytest.mark.parametrize("delay", [1, 2])
def test_a_check_that_is_read_later_keeps_the_batch_and_the_checkpoint(
    delay: int, saved_every: int, broken: int, tmp_path: Path
) -> None:
    """As on GPUs; `broken` is the step with the first value that is not finite."""
    batches, checkpoint = make_batches(8), RunCheckpoint(tmp_path / "checkpoints", every_n_steps=saved_every)
    batches[broken - 1]["image"][0, 1, 2, 3] = NAN
    trainer = make_trainer(8, NaNGuard(tmp_path / "nan", delay), checkpoint, enable_checkpointing=True)
    with pytest.raises(UserError, match=rf"^step {broken}: l1 = nan"):
        trainer.fit(make_tiny(), loader(batches))
    (path,) = (tmp_path / "nan").iterdir()
    saved = torch.load(path, weights_only=True)
    assert (saved["step"], saved["name"]) == (broken, batches[broken - 1]["name"])
    assert torch.equal(saved["image"].nan_to_num(-1), batches[broken - 1]["image"].nan_to_num(-1))
    next_save = next((step for step in range(broken, 9) if step % saved_every == 0), 8)
    assert trainer.global_step == min(broken + delay, next_save)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert last.exists() == (saved_every <= broken - 1)
    if last.exists():
        content = torch.load(last, weights_only=True)
        assert content["global_step"] == (broken - 1) // saved_every * saved_every
        assert all(tensor.isfinite().all() for tensor in content["state_dict"].values())


def test_a_gradient_alone_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert stopped(Steeper("l1"), make_batches(8), tmp_path).startswith(
        "step 5: a gradient is not finite; stopped before saving"
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_finite_run_is_not_stopped(order: str, precision: Any, tmp_path: Path) -> None:
    trainer = make_trainer(8, NaNGuard(tmp_path / "nan"), precision=precision)
    trainer.fit(make_tiny(stages=(ORDERS[order][0],)), loader(make_batches(8)))
    assert trainer.global_step == 8
    assert not (tmp_path / "nan").exists()


def fp16() -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu")


def test_fp16_may_overflow(tmp_path: Path) -> None:
    """The scaler skips the step and reduces the scale."""
    torch.manual_seed(0)
    outputs, plugin = Outputs(), fp16()
    model = Steeper("l1", stages=(Stage(update="alternating"),))
    make_trainer(8, NaNGuard(tmp_path / "nan"), outputs, plugins=[plugin]).fit(model, loader(make_batches(8)))
    assert len(outputs.seen) == 8
    assert plugin.scaler is not None
    assert plugin.scaler.get_scale() < 65536
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_loss_stops_the_run_under_fp16_too(tmp_path: Path) -> None:
    message = stopped(make_tiny(stages=(Stage(update="alternating"),)), poisoned(), tmp_path, plugins=[fp16()])
    assert message.startswith("step 5: ")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_value_in_one_of_many_tensors_is_found(value: float) -> None:
    kinds = [torch.float32, torch.bfloat16, torch.float64]
    tensors = [torch.full((3, 4), 1e4, dtype=kind, requires_grad=True) for kind in kinds for _ in range(2)]
    assert not _any_non_finite(tensors)
    for tensor in tensors:
        with torch.no_grad():
            tensor[1, 2] = value
        assert _any_non_finite(tensors)
        with torch.no_grad():
            tensor[1, 2] = 1.0
    assert not _any_non_finite([])


def test_large_is_not_infinite() -> None:
    """Even where the sum of all values overflows their type."""
    assert not _any_non_finite([torch.full((100,), 6e4, dtype=torch.float16), torch.full((100,), 3e38)])


def test_a_run_directory_keeps_the_file_of_the_guard(tmp_path: Path) -> None:
    """Although the run, stopped at its first batch, has no other result."""
    losses = LPINet.generator_losses

    def no_number(self: LPINet, batch: Batch, prediction: Prediction) -> Terms:
        terms = losses(self, batch, prediction)
        return {**terms, "l1": terms["l1"] * NAN}

    folder = tmp_path / "run"
    with mock.patch.object(LPINet, "generator_losses", no_number), pytest.raises(UserError, match=r"step 1: .*l1 = nan"):
        run(folder, "--trainer.log_every_n_steps", "100")
    assert not (folder / "metrics.csv").exists()
    assert [path.name for path in (folder / "nan").iterdir()] == ["step_0000001_rank_0.pt"]
    assert (folder / "config.yaml").exists()
