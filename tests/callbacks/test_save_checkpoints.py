from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from lit_inpaint.callbacks import AtomicCheckpointIO, RunCheckpoint
from lit_inpaint.callbacks.save_checkpoints import Mode
from lit_inpaint.errors import UserError
from lit_inpaint.metrics import FID, find_protocol
from lit_inpaint.metrics.distribution_scores import score_directions
from lit_inpaint.runs.build_trainer import choose_best


class FakeTrainer:
    """Saves the step and the callback's state, as Lightning would, and validates at every `validate`-th batch."""

    def __init__(self, callback: RunCheckpoint, validate: int = 10**9, max_steps: int = 10**9) -> None:
        self.callback, self.validate, self.max_steps = callback, validate, max_steps
        self.global_step = 0
        self.sanity_checking = False
        self.is_global_zero = True
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.saved: list[tuple[str, int, bool]] = []
        due = SimpleNamespace(_should_check_val_fx=lambda fetcher: self.global_step % self.validate == 0)
        self.fit_loop = SimpleNamespace(_data_fetcher=object(), epoch_loop=due)

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        assert weights_only is False
        state = self.callback.state_dict()
        self.saved.append((path.name, self.global_step, state["validation_due"]))
        AtomicCheckpointIO().save_checkpoint({"step": self.global_step, **state}, path)

    def batches(self, count: int) -> None:
        for _ in range(count):
            self.global_step += 1
            self.callback.on_train_batch_end(cast(Any, self), cast(Any, None), None, None, 0)

    def validated(self, value: float) -> None:
        self.callback_metrics["val/psnr"] = torch.tensor(value)
        self.callback.on_validation_end(cast(Any, self), cast(Any, None))


def test_when_it_saves(tmp_path: Path) -> None:
    callback = RunCheckpoint(tmp_path, every_n_steps=3)
    trainer = FakeTrainer(callback, validate=4, max_steps=7)
    trainer.batches(7)
    assert trainer.saved == [("last.ckpt", 3, False), ("last.ckpt", 4, True), ("last.ckpt", 6, False), ("last.ckpt", 7, False)]
    callback.on_train_end(cast(Any, trainer), cast(Any, None))
    assert len(trainer.saved) == 4  # the last batch is saved once
    trainer.batches(1)
    assert trainer.saved[4:] == [("last.ckpt", 8, True)]


def test_the_best_value_is_kept_over_interruptions(tmp_path: Path) -> None:
    callback = RunCheckpoint(tmp_path, every_n_steps=100)
    trainer = FakeTrainer(callback, validate=1)
    for value in (float("nan"), 20.0, 22.0, 22.0, 21.0):
        trainer.batches(1)
        trainer.validated(value)
    best = torch.load(tmp_path / "best.ckpt")
    assert (best["step"], best["best_step"], best["best_value"], best["validation_due"]) == (3, 3, 22.0, False)
    last = torch.load(tmp_path / "last.ckpt")
    assert (last["step"], last["best_step"], last["validation_due"]) == (5, 3, False)

    again = RunCheckpoint(tmp_path, every_n_steps=100)
    again.load_state_dict(last)
    resumed = FakeTrainer(again, validate=1)
    resumed.global_step = 5
    for value in (21.5, 23.0):
        resumed.batches(1)
        resumed.validated(value)
    assert torch.load(tmp_path / "best.ckpt")["step"] == 7
    assert torch.load(tmp_path / "last.ckpt")["step"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_the_monitored_value_may_be_a_minimum(tmp_path: Path) -> None:
    callback = RunCheckpoint(tmp_path, 100, "val/psnr", "min")
    trainer = FakeTrainer(callback, validate=1)
    for value in (20.0, float("nan"), 18.0, 19.0):
        trainer.batches(1)
        trainer.validated(value)
    assert torch.load(tmp_path / "best.ckpt")["step"] == 3
    other = RunCheckpoint(tmp_path, 100, "val/ssim")
    other.load_state_dict(callback.state_dict())
    assert other.best_value is None, "a resumed run with another metric has no best checkpoint yet"


def test_a_value_that_is_never_logged_is_named(tmp_path: Path) -> None:
    callback = RunCheckpoint(tmp_path, 100, "val/pnsr")
    trainer = FakeTrainer(callback, validate=1)
    trainer.batches(1)
    with pytest.warns(UserWarning, match=r"nothing logged val/pnsr .* did you mean 'val/psnr'"):
        trainer.validated(20.0)
    assert not (tmp_path / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("protocol", "name", "mode", "chosen"),
    [
        ("lpi", None, None, ("val/psnr", "max")),
        ("edgeconnect", None, None, ("val/psnr_gray", "max")),
        ("pepsi", None, None, ("val/psnr", "max")),
        ("lpi", "val/l1", None, ("val/l1", "min")),
        ("lpi", "val/10-20%/ssim", None, ("val/10-20%/ssim", "max")),
        ("lpi", "val_loss/generator", None, ("val_loss/generator", "min")),
        ("lpi", "own/score", "min", ("own/score", "min")),
    ],
)
def test_the_default_of_the_best_metric(protocol: str, name: str | None, mode: Mode | None, chosen: tuple[str, str]) -> None:
    assert choose_best(name, mode, find_protocol(protocol)) == chosen


def test_the_score_that_selects_lamas_checkpoints() -> None:
    """F1 of SSIM and FID; FID is measured where the metrics name it."""
    lama, name = find_protocol("lama"), "val/ssim_fid100_f1"
    of_set = score_directions(lama, [FID()])
    assert choose_best(name, None, lama, of_set) == (name, "max")
    assert choose_best("val/fid", None, lama, of_set) == ("val/fid", "min")
    with pytest.raises(UserError, match=r"^best_metric val/ssim_fid100_f1 is combined from fid; .*--metrics \[fid\]$"):
        choose_best(name, None, lama)


def test_a_new_last_does_not_change_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hard links exist both names share their bytes until one of them is replaced; elsewhere they are copies."""
    for linkable in (True, False):
        if not linkable:
            monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("no hard links")))
        folder = tmp_path / str(linkable)
        callback = RunCheckpoint(folder, every_n_steps=1)
        trainer = FakeTrainer(callback, validate=1)
        trainer.batches(1)
        trainer.validated(20.0)
        trainer.batches(1)
        assert torch.load(folder / "best.ckpt")["step"] == 1
        assert torch.load(folder / "last.ckpt")["step"] == 2


def test_an_interval_below_one() -> None:
    with pytest.raises(UserError, match="checkpoint_every is 0"):
        RunCheckpoint(Path("nowhere"), every_n_steps=0)
