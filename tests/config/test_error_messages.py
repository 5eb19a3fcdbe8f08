"""Every mistake is one line that says what to do, ends with status 2, and leaves nothing behind."""

import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import TINY, at, content, kill, run

from lit_inpaint import fit
from lit_inpaint.cluster.launch_summary import experiment_batch_size
from lit_inpaint.config import check_settings, load_yaml
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
FILES = {
    "invalid.yaml": "model: [\n",
    "list.yaml": "- model\n",
    "section.yaml": "base: experiments/lpi_demo.yaml\ntraner: {max_steps: 3}\n",
    "weights.yaml": "base: experiments/lpi_demo.yaml\nmodel: {init_args: {weights: {l2: 1}}}\n",
    "masks.yaml": "base: experiments/lpi_demo.yaml\n"
    "data: {init_args: {masks: {class_path: lit_inpaint.masks.FreeForm, init_args: {strokse: 3}}}}\n",
    "type.yaml": "base: experiments/lpi_demo.yaml\ntrainer: {max_steps: many}\n",
    "base.yaml": "base: nothing.yaml\n",
    "nodata.yaml": "model: {class_path: lit_inpaint.papers.LPINet}\n",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with mistakes to make."""
    (tmp_path / "experiments").symlink_to(EXPERIMENTS)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for name, good, bad in (("empty", 0, 0), ("broken", 0, 3), ("mixed", 4, 2)):
        (tmp_path / name).mkdir()
        for number in range(good):
            Image.fromarray(np.full((40, 40, 3), number, np.uint8)).save(tmp_path / name / f"{number}.png")
        for number in range(bad):
            (tmp_path / name / f"bad{number}.jpg").write_bytes(b"not an image")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    return tmp_path


def mistake(argv: list[str]) -> str:
    with pytest.raises(UserError) as raised:
        fit.main(argv)
    return " ".join(str(raised.value).split())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("", "name an experiment: --experiment NAME .*lpi_demo"),
        ("--experiment lpi_dmeo", "no experiment 'lpi_dmeo' in .*; did you mean 'lpi_demo'"),
        ("--experiment", "argument --experiment: expected one argument"),
        ("--experiment lpi_demo --resume sometimes", "--resume: invalid choice: 'sometimes'"),
        ("--experiment lpi_demo --config a.yaml", "not allowed with argument"),
        ("--config nothing.yaml", r"no configuration at nothing\.yaml"),
        ("--experiment invalid.yaml", r"invalid\.yaml is not valid YAML: .*line 2"),
        ("--experiment list.yaml", r"list\.yaml must hold sections"),
        ("--experiment section.yaml", "unknown key 'traner'; did you mean 'trainer'"),
        ("--experiment weights.yaml", r"unknown key 'model\.weights\.l2'; there are l1, adversarial, real, fake"),
        ("--experiment masks.yaml", r"unknown key 'data\.masks\.strokse'; did you mean 'strokes'"),
        ("--experiment type.yaml", r"trainer\.max_steps: expected int, got 'many'"),
        ("--experiment base.yaml", r"base\.yaml names 'nothing\.yaml', which is not in \. or .*experiments$"),
        ("--experiment nodata.yaml", "the configuration lacks data"),
    ],
)
def test_where_an_experiment_comes_from(argv: str, message: str, place: Path) -> None:
    assert re.match(message, mistake(argv.split())) or re.search(message, mistake(argv.split()))
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--modle.blocks 3", "unknown key 'modle'; did you mean 'model'"),
        ("--seeed 3", "unknown key 'seeed'; did you mean 'seed'"),
        ("--model.blokcs 3", r"unknown key 'model\.blokcs'; did you mean 'blocks'"),
        ("--model.weights.adversarail 3", r"unknown key 'model\.weights\.adversarail'; did you mean 'adversarial'"),
        ("--model.generator_optimizer.lrr 3", r"unknown key 'model\.generator_optimizer\.lrr'; did you mean 'lr'"),
        ("--trainer.max_step 3", r"unknown key 'trainer\.max_step'; did you mean 'max_steps'"),
        ("--trainer.gradient_clip_val 3", r"unknown key 'trainer\.gradient_clip_val'; use model\.training\.clip_generator"),
        ("--data.bach_size 3", r"unknown key 'data\.bach_size'; did you mean 'batch_size'"),
        ("--wandb.modee x", r"unknown key 'wandb\.modee'; did you mean 'mode'"),
        ("--trainer.max_steps 0", "nothing would be trained"),
        (
            "--data.masks 3",
            r"data\.masks: expected the class_path of a subclass of MaskSource, got 3; there are Boxes.*FreeForm",
        ),
        (
            "--data.masks.class_path MaskRatio --data.masks.source 3",
            r"data\.masks\.source: expected .* got .*3.*; there are Boxes",
        ),
        ("--trainer.max_steps abc", r"trainer\.max_steps: expected int, got 'abc'"),
        (
            "--model.generator_optimizer.lr fast",
            r"model.*\.lr: expected float or the class_path of a subclass of Schedule, got fast; there are .*Linear",
        ),
        ("--model.generator_optimizer.class_path SDG", r"model\.generator_optimizer: there is no class 'SDG'"),
        ("--model.generator_optimizer.momentum 1", r"unknown key 'model\.generator_optimizer\.momentum'; there are lr, betas"),
        (
            '--model.generator_optimizer.lr {"class_path":"Linear","init_args":{"start":1e-3,"length":0}}',
            "Linear: hold=0, length=0; give hold from 0 on",
        ),
        ("--model.stages 3", r"model\.stages: expected tuple, got '3'"),
        ('--model.stages [{"updat":1}]', r"unknown key 'model\.stages\.updat'; did you mean 'update'"),
        ("--model.weights 3", r"model\.weights: expected several settings"),
        ("--trainer 4", "trainer: expected several settings"),
        (
            "--wandb.mode sometimes",
            r"wandb\.mode: expected one of \['auto', 'online', 'offline', 'disabled'\], got 'sometimes'",
        ),
        ("--ema 1.5", "ema decay is 1.5"),
        ("--checkpoint_every 0", "checkpoint_every is 0"),
        ("--data.batch_size -1", r"data\.batch_size is -1, it must be at least 1"),
        ("--model.class_path lit_inpaint.papers.LPINett", r"model\.class_path: .*no attribute 'LPINett'"),
        ("--model.class_path torch.nn.Linear", r"model: expected the class_path of a subclass of Inpainter, got .*Linear"),
        (
            "--data.masks.class_path FreeFrom",
            r"data\.masks: expected the class_path of a subclass of MaskSource, got .*FreeFrom",
        ),
        ("--data.masks 3", r"data\.masks: expected the class_path of a subclass of MaskSource, got 3"),
        ("--data.root nowhere", "no folder at nowhere"),
        (f"--data.root {__file__}", r"DIR \(this is a file; an archive has to be unpacked\)"),
        ("--data.root empty", "no files at empty"),
        ("--data.root broken", "image files cannot be used: cannot read broken/bad"),
        ("--data.root mixed --data.on_bad_file stop", "image files cannot be used: cannot read mixed/bad"),
        ("--trainer.devices 4", "no GPU that PyTorch can use.*--trainer.accelerator cpu --trainer.devices 4"),
        ("--trainer.devices [0,1]", "no GPU that PyTorch can use.*--trainer.accelerator cpu --trainer.devices 2"),
        ("--trainer.accelerator gpu", "no GPU that PyTorch can use.*--trainer.accelerator cpu --trainer.devices 1"),
        ("--trainer.accelerator foo", "the Trainer rejects its settings: .*accelerator"),
        ("--trainer.strategy foo", "the Trainer rejects its settings: .*strategy"),
        ("--trainer.max_steps -5", "the Trainer rejects its settings: .*max_steps"),
        ("--trainer.val_check_interval 0", r"trainer\.val_check_interval is 0"),
        ("--data.root", "--data.root needs a value"),
        ("extra", "unexpected argument 'extra'"),
        ("-- extra", "unexpected argument '--'"),
        ("--wandb.mode online", "no W&B key is known"),
        ("--resume must", "there is no run/checkpoints/last.ckpt"),
        ("--run_dir nodata.yaml/below", "cannot write the run directory nodata.yaml/below"),
        ("--init_from nothing.ckpt", r"init_from: no checkpoint at /.*/nothing\.ckpt; a run writes"),
        ("--init-from empty", "init_from: no checkpoint at /.*/empty: it is a directory"),
        ("--init_from list.yaml", r"init_from: /.*/list\.yaml cannot be read as a checkpoint"),
        ("--init_from", "argument --init_from/--init-from: expected one argument"),
        ("--init-from --seed 3", "argument --init_from/--init-from: expected one argument"),
        ("--init_from=", "init_from is empty; give a checkpoint, or null for none"),
        ("--init_from=~nobody-here/a.ckpt", "init_from: ~nobody-here/a.ckpt: "),
        ("--init_from.file a.ckpt", r"init_from: expected str or null, got"),
        (
            "--init_from a.ckpt --resume must",
            "--init_from starts a new run, --resume must resumes an old one; leave --resume must out .*, or use --config",
        ),
    ],
)
def test_options(options: str, message: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(place / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert re.match(f".*{message}", mistake([*TINY, "--run_dir", "run", *options.split()]))
    assert not (place / "run").exists()
    assert not (place / "runs").exists()


def test_a_mistake_found_inside_the_trainer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the engine's rejection of 16-mixed on a GPU; the run directory and W&B's process go with it."""
    import wandb

    def refuse(self: Inpainter) -> None:
        assert wandb.run is not None
        raise UserError("not this precision")

    monkeypatch.setattr(Inpainter, "on_fit_start", refuse)
    assert mistake([*TINY, "--run_dir", "runs/a", "--wandb.mode", "offline"]) == "not this precision"
    assert wandb.run is None
    assert not (place / "runs").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_bad_file_met_in_training(workers: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the worker's traceback, which torch makes part of the message."""
    monkeypatch.setattr("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0)
    options = ["--data.root", "mixed", "--data.on_bad_file", "stop", "--data.workers", workers, "--run_dir", "run"]
    assert re.fullmatch(r"cannot read mixed/bad\d.jpg as an image \(.*\)", mistake([*TINY, *options]))
    assert not (place / "run").exists()


def test_checkpoints_that_do_not_fit(place: Path) -> None:
    folder = place / "run"
    with at(2, "training_step", kill), pytest.raises(BaseException):  # noqa: B017, PT011 (a kill)
        run(folder, "--checkpoint_every", "1")
    last = folder / "checkpoints" / "last.ckpt"
    whole = content(folder)
    last.write_bytes(last.read_bytes()[:1000])
    assert "cannot be read as a checkpoint; it may be truncated" in mistake([*TINY, "--run_dir", str(folder)])
    torch.save({**whole, "lit_inpaint": {**whole["lit_inpaint"], "paper": "lit_inpaint.papers.pepsi.PEPSI"}}, last)
    assert f"{last} is of PEPSI, not of LPINet" in mistake([*TINY, "--run_dir", str(folder)])
    assert "the run in" in mistake([*TINY, "--run_dir", str(folder), "--seed", "3"])
    assert "already holds a run" in mistake([*TINY, "--run_dir", str(folder), "--resume", "never"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", r"init_from: /.*/truncated\.ckpt cannot be read as a checkpoint; it may be truncated"),
        ("foreign", r"init_from: /.*/foreign\.ckpt is not a checkpoint of lit_inpaint: it names no paper"),
        ("empty", r"init_from: no tensor of /.*/empty\.ckpt, which holds LPINet, has the name and shape of one of this LPINet"),
    ],
)
def test_checkpoints_that_cannot_be_started_from(kind: str, message: str, place: Path, checkpoint: Path) -> None:
    whole = torch.load(checkpoint, weights_only=True)
    path = place / f"{kind}.ckpt"
    if kind == "truncated":
        path.write_bytes(checkpoint.read_bytes()[:1000])
    else:
        torch.save(
            {"foreign": {"state_dict": whole["state_dict"]}, "empty": {**whole, "state_dict": {}, "callbacks": {}}}[kind], path
        )
    assert re.match(message, mistake([*TINY, "--run_dir", "run", "--init_from", path.name]))
    assert not (place / "run").exists()
    assert mistake([*TINY, "--init_from", path.name])
    assert not (place / "runs").exists()


def test_a_validation_interval_longer_than_the_run(place: Path) -> None:
    assert run(place / "run", "--trainer.max_steps", "1", "--trainer.val_check_interval", "100") == 0
    assert [path.name for path in (place / "run" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_as_a_command(place: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "lit_inpaint.fit", *TINY, "--model.blokcs", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown key 'model.blokcs'; did you mean 'blocks'?\n"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the processor's time: others may be at work on this machine
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 30  # 6 s on an idle core


def test_a_class_of_data_may_stand_alone(place: Path) -> None:
    (place / "class.yaml").write_text("base: experiments/lpi_demo.yaml\ndata: lit_inpaint.data.DemoPhotos\n")
    start = load_yaml.load_experiment("class.yaml")
    assert experiment_batch_size(start["data"], check_settings.check(start).data.class_path) == 8


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_a_patience_that_is_no_number_of_seconds(seconds: str) -> None:
    with pytest.raises(UserError, match="argument --watchdog_timeout: "):
        fit.main([*TINY, "--watchdog_timeout", seconds])


def test_settings_can_be_shown_in_a_job_of_several_tasks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert fit.main([*TINY, "--print_config"]) == 0
    assert "batch_size" in capsys.readouterr().out
    with pytest.raises(UserError, match="this SLURM job has 2 tasks"):
        fit.main(TINY)
