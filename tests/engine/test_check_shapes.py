"""What images and batches do not fit the networks is reported before a run begins."""

from pathlib import Path

import pytest
import torch
from tiny_runs import content, run_small

from lit_inpaint import fit
from lit_inpaint.engine.check_shapes import check_shapes
from lit_inpaint.errors import UserError
from lit_inpaint.papers import (
    GLCIC,
    PEPSI,
    ContextEncoder,
    DeepFillV1,
    DeepFillV2,
    DeepGIN,
    EdgeConnect,
    LPINet,
    PConv,
    UNet,
    WaveMix,
)
from lit_inpaint.settings import Training

SMALL: dict[str, object] = {"width": 8, "discriminator_width": 8}
CASES = [
    (
        LPINet,
        {},
        20,
        4,
        "^images of 20x20 pixels are too small for the networks of LPINet in training; set --data.size 24 or more$",
    ),
    (
        UNet,
        {},
        32,
        1,
        r"^UNet has a batch norm that gets one value per channel from 1 image of 32x32 pixels; set --data.batch_size 2",
    ),
    (PConv, {}, 64, 1, r"^PConv's batch norm cannot learn from one image .*--data\.batch_size"),
    (
        DeepFillV1,
        SMALL,
        64,
        2,
        "^DeepFillV1's critics take 256x256 images, and these are 64x64; set --data.size 256, or --model.s",
    ),
    (DeepFillV2, SMALL, 16, 2, "^the attention compares 3x3 patches .* images need at least 24x24 pixels, this one has 16x16"),
    (EdgeConnect, SMALL, 22, 2, "^EdgeConnect takes sides that are multiples of 4 from 24 on, not 22x22"),
    (GLCIC, SMALL, 64, 2, "^GLCIC's discriminator takes 256x256 images, and these are 64x64; set --data.size 256"),
    (
        ContextEncoder,
        SMALL,
        64,
        2,
        "^ContextEncoder takes 128x128 images in training, and these are 64x64; set --data.size 128",
    ),
    (ContextEncoder, SMALL | {"size": 32}, 32, 1, "^ContextEncoder's batch norm cannot learn from one image"),
    (PEPSI, SMALL, 64, 2, "^PEPSI's discriminator has weights for each region of 256x256 images"),
    (WaveMix, {"modules": 1, "blocks": 1, "dimension": 16}, 10, 2, "^images of 10x10 pixels are too small .*--data.size 16 or"),
    (DeepGIN, {}, 20, 4, r"^DeepGIN learns from images whose sides are multiples of 16, not 20x20: --data\.size"),
]


@pytest.mark.parametrize(("paper", "arguments", "size", "batch_size", "message"), CASES)
def test_images_and_batches_that_do_not_fit(
    paper: type, arguments: dict[str, object], size: int, batch_size: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_shapes(paper(**arguments), size, batch_size)


def test_what_fits_is_accepted_and_the_paper_is_not_changed() -> None:
    torch.manual_seed(3)
    model = LPINet()
    before, modes = {name: tensor.clone() for name, tensor in model.state_dict().items()}, [m.training for m in model.modules()]
    state = torch.get_rng_state()
    check_shapes(model, 24, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    check_shapes(UNet(), 32, 2)
    check_shapes(LPINet(), 20, 1, max_steps=0)  # no stage begins


def test_accumulation_makes_a_batch_of_one() -> None:
    with pytest.raises(UserError, match=r"set --data\.batch_size 8 or more"):
        check_shapes(UNet(training=Training(accumulate_generator=4)), 32, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.size", "20"], "^images of 20x20 pixels are too small"),
        (["--seed", "100000000000000000000"], "^seed is 100000000000000000000, it must be from 0 to 18446744073709551615$"),
        (["--seed", "-1"], "^seed is -1, it must be from 0"),
        (
            ["--data.seed", "100000000000000000000"],
            "^data.seed is 100000000000000000000, it must be at most 18446744073709551615$",
        ),
        (["--data.repeat", "100000000000000000000"], "^data.repeat is 100000000000000000000, it must be at most 2147483647$"),
        (["--wandb.tags", f"[{'x' * 65}]"], "wandb.tags: '[x]{65}' has 65 characters; W&B takes tags of 1 to 64"),
        (["--wandb.project", "a/b"], "wandb.project 'a/b': W&B takes names of up to 128 characters without any of / "),
    ],
)
def test_before_the_run_directory_is_made(options: list[str], message: str, tmp_path: Path) -> None:
    argv = ["--experiment", "lpi_demo", "--run_dir", str(tmp_path / "run"), "--wandb.mode", "disabled", "--data.workers", "0"]
    with pytest.raises(UserError, match=message):
        fit.main([*argv, *options])
    assert not (tmp_path / "run").exists()


MISSING = {
    "DeepGIN": r"VGG-19 \(ImageNet\): no weights",
    "EdgeConnect": r"VGG-19 \(ImageNet\): no weights",
    "PConv": r"VGG-16 \(ImageNet\): no weights",
    "LaMa": "encoder_epoch_20",
}
"""Papers with losses on pretrained networks, and what their message names."""


@pytest.mark.parametrize("paper", MISSING)
def test_a_missing_loss_network_is_reported_before_the_run_starts(
    paper: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also before W&B creates a run."""
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    argv = ["--experiment", "lpi_demo", "--run_dir", str(tmp_path / "run"), "--wandb.mode", "disabled", "--data.workers", "0"]
    argv += ["--model", f"{{class_path: lit_inpaint.papers.{paper}, init_args: {{width: 8, discriminator_width: 8}}}}"]
    if paper == "PConv":
        argv[-1] = "{class_path: lit_inpaint.papers.PConv, init_args: {width: 8, levels: 4}}"
    with pytest.raises(UserError, match=MISSING[paper]):
        fit.main(argv)
    assert not (tmp_path / "run").exists()
    assert "Run directory" not in capsys.readouterr().out


def test_a_run_in_double_precision(tmp_path: Path) -> None:
    """Loaders deliver bytes, which Lightning does not convert."""
    steps = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    assert run_small(tmp_path / "run", *steps, "--trainer.precision", "64-true") == 0
    assert content(tmp_path / "run")["state_dict"]["generator.0.weight"].dtype == torch.float64


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "transformer-engine"])
def test_precisions_that_would_train_wrongly(precision: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^--trainer.precision {precision}: weights need float32 or better.*bf16-mixed"):
        run_small(tmp_path / "run", "--trainer.precision", precision)
    assert not (tmp_path / "run").exists()
