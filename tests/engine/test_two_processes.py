"""`fit` on two processes of one machine, as Lightning starts them: what they leave, and how they end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from fake_slurm import fake_scontrol, on_path, step
from fault_injection import __file__ as script_with_faults
from lightning.pytorch import Trainer
from tiny_pair import OF_A_PAIR, difference
from tiny_runs import TINY, assert_same_run, content, rows

from lit_inpaint import fit
from lit_inpaint.errors import UserError
from lit_inpaint.runs.checkpoint_file import read_checkpoint

pytestmark = pytest.mark.xdist_group("two processes")
CPU = ["--trainer.accelerator", "cpu", "--trainer.devices"]
SCRIPT = (str(Path(script_with_faults)),)
PYTHONPATH = os.pathsep.join([str(Path(script_with_faults).parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Batch norm and spectral norm in few parameters, an average, and an odd number of validation samples."""
    adam = {"class_path": "lit_inpaint.settings.Adam", "init_args": {"lr": 1e-2, "eps": 1e-3}}  # see `tiny_pair.Case.eps`
    settings = {
        "model": {
            "class_path": "lit_inpaint.papers.tiny_gan.TinyGAN",
            "init_args": {"generator_optimizer": adam, "discriminator_optimizer": adam},
        },
        "data": {"class_path": "lit_inpaint.data.DemoPhotos", "init_args": {"val_images": 1, "workers": 0}},
        "ema": 0.5,
    }
    file = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    file.write_text(yaml.safe_dump(settings))
    return str(file)


def arguments(experiment: str, folder: Path, *options: str) -> list[str]:
    return [*TINY, "--experiment", experiment, "--run_dir", str(folder), "--data.val_crops", "5", *CPU, *options]


def run_two(
    experiment: str, folder: Path, *options: str, accident: str | None = None, script: tuple[str, ...] = SCRIPT
) -> subprocess.CompletedProcess[str]:
    """`fit` on two processes with half of each batch, in a group of their own; a run that hangs is killed and fails."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_PAIR}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": PYTHONPATH}
    process = subprocess.Popen(
        [sys.executable, *script, *arguments(experiment, folder, "2", "--data.batch_size", "1", *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment if accident is None else environment | {"ACCIDENT": accident},
    )
    try:
        printed, errors = process.communicate(timeout=100)  # the pipes close when the last process has ended
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, errors = process.communicate()
        raise AssertionError(f"two processes hang ({accident or 'undisturbed'}):\n{printed}\n{errors}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, printed, errors)


@pytest.fixture(scope="module")
def two(experiment: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("two") / "run"
    done = run_two(experiment, folder, "--wandb.mode", "offline")
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def one(experiment: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on one process with the whole batches."""
    folder = tmp_path_factory.mktemp("one") / "run"
    done = run_two(experiment, folder, "--trainer.devices", "1", "--data.batch_size", "2")
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_leave_one_run(two: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = two
    assert done.stdout.count("Run directory: ") == 2  # at the start and at the end, from the first process alone
    for word in ("Traceback", "sync_dist", "Warning", "terminated"):
        assert word not in done.stderr
    found = rows(folder)
    assert [int(row["step"]) for row in found if "train/l1" in row] == list(range(1, 9))
    assert [int(row["step"]) for row in found if "val/psnr" in row] == [4, 8]
    assert len([row for row in found if "cost/parameters" not in row]) == 10
    assert sorted(path.name for path in (folder / "samples").iterdir()) == ["step_0000004.png", "step_0000008.png"]
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert content(folder)["callbacks"]["GeneratorEMA"]["updates"] == 8


def test_the_command_itself_with_a_paper_of_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    done = run_two("lpi_demo", folder, *options, script=("-m", "lit_inpaint.fit"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Run directory: ") == 2
    assert [row["step"] for row in rows(folder) if "cost/parameters" not in row] == ["1", "2", "2"]
    assert {row["n"] for row in json.loads((folder / "final_evaluation.json").read_text())["rows"]} == {0, 10}


def test_an_odd_number_of_samples_is_measured_once_each(two: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Three on one process, two on the other; the table is measured by one process, over all five."""
    folder, _ = two
    last = rows(folder)[-1]
    table = {
        row["metric"]: row
        for row in json.loads((folder / "final_evaluation.json").read_text())["rows"]
        if row["bucket"] == "all"
    }
    for metric in ("psnr", "ssim", "l1"):
        assert table[metric]["n"] == 5
        assert last[f"val/{metric}"] == f"{table[metric]['value']:.8g}"


def test_two_processes_end_where_one_with_whole_batches_does(
    two: tuple[Path, subprocess.CompletedProcess[str]], one: Path
) -> None:
    folder, _ = two
    mine, theirs = rows(folder), rows(one)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"train/stage"}:
            assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-4), (key, a["step"])
    for a, b in zip(*(json.loads((path / "final_evaluation.json").read_text())["rows"] for path in (folder, one)), strict=True):
        assert (a["bucket"], a["metric"], a["n"]) == (b["bucket"], b["metric"], b["n"])
        assert a["n"] == 0 or a["value"] == pytest.approx(b["value"], rel=1e-4)
    assert difference(content(folder)["state_dict"], content(one)["state_dict"]) < 1e-4
    averages = [content(path)["callbacks"]["GeneratorEMA"]["weights"] for path in (folder, one)]
    assert difference(*averages) < 1e-4


def test_whoever_gets_a_signal_all_save_and_leave_and_go_on_as_if_nothing_had_happened(
    experiment: str, two: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """One run, asked to stop four times."""
    folder = tmp_path / "run"
    for accident, saved, options in (
        ("loading:0:1", 1, ()),  # the second process alone, before the first batch
        ("slow:3:0", 4, ()),  # the first alone, in a batch that a validation follows; it leaves late
        ("group:5:0", 6, ("--data.workers", "1")),  # all, the loaders' workers included, as with Slurm
        ("validation:8:1", 8, ()),  # the second alone, in the last validation
    ):
        done = run_two(experiment, folder, *options, accident=accident)
        assert done.returncode == 128 + signal.SIGTERM, (accident, done.stderr)
        assert done.stderr.count(f"SIGTERM: saved {folder / 'checkpoints' / 'last.ckpt'} at step {saved};") == 1, accident
        assert "Traceback" not in done.stderr, accident
        assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == saved, accident
    assert run_two(experiment, folder).returncode == 0
    assert_same_run(folder, two[0])


def test_a_nan_on_one_process_stops_all_with_one_line(experiment: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run_two(experiment, folder, "--checkpoint_every", "2", accident="nan:3:1")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    file = folder / "nan" / "step_0000004_rank_1.pt"
    assert line.startswith("error: step 4: l1 = nan, ")
    assert f"the batch is in {file}." in line
    assert "Traceback" not in done.stderr
    assert torch.load(file, weights_only=True)["image"].isnan().all()
    assert content(folder)["global_step"] == 2


def test_a_strategy_that_does_not_fit_is_one_line_from_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def went_on(*args: object, **kwargs: object) -> None:
        raise AssertionError("the other processes were started")

    monkeypatch.setattr(Trainer, "fit", went_on)
    options = ("2", "--trainer.strategy", "ddp_find_unused_parameters_false", "--model.stages", "[{update: alternating}]")
    with pytest.raises(UserError, match=r"expects a gradient for every parameter .* use --trainer.strategy ddp or auto"):
        fit.main(arguments("lpi_demo", tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def start_outside(experiment: str, place: Path, launcher: str, **variables: str) -> tuple[list[int], str]:
    """`fit` without a run folder, in two processes that torchrun or srun starts in `place`: statuses, and what both print."""
    command = [*SCRIPT, *TINY, "--experiment", experiment, "--data.val_crops", "5", "--data.batch_size", "1", *CPU[:2]]
    command += ["--watchdog_timeout", "2"]
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_PAIR}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": PYTHONPATH, **variables}
    started = [(["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"], environment)]
    if launcher == "srun":
        started = [([], environment | step(rank, 2, 2)) for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, *before, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=place,
            env=variables,
            start_new_session=True,
        )
        for before, variables in started
    ]
    try:
        printed = [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return [process.returncode for process in processes], "".join(printed)


def test_a_process_that_hangs_under_torchrun_is_named_and_the_run_goes_on(
    experiment: str, two: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Nobody says which folder, how many devices: the processes agree, and the second start finds the first one's folder."""
    _, printed = start_outside(experiment, tmp_path, "torchrun", ACCIDENT="starved:5:1")
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    assert printed.count("processes   2 = 1 node x 2 devices (CPU), started by torchrun") == 1
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    pid = json.loads((folder / "ranks" / "1.json").read_text())["pid"]
    said = rf"no progress for \d s: process 1 \({socket.gethostname()}, pid {pid}\) is behind, in step 6, loading a batch "
    assert re.match(rf"error: {said}\(stack: \S+/ranks/1\.stack\)\. All processes end; .* from \S+/last\.ckpt\.", line), line
    assert "in starve" in (folder / "ranks" / "1.stack").read_text()
    assert "exitcode  : 75" in printed
    assert content(folder)["global_step"] == 4
    statuses, printed = start_outside(experiment, tmp_path, "torchrun")
    assert statuses == [0], printed
    assert "Traceback" not in printed
    assert [path.name for path in (tmp_path / "runs" / "tiny").iterdir()] == [folder.name]
    assert [path.name for path in (folder / "ranks").glob("*.stack")] == []
    assert [(start["launcher"], start["step"]) for start in yaml.safe_load((folder / "launches.yaml").read_text())] == [
        ("torchrun", 0),
        ("torchrun", 4),
    ]
    assert_same_run(folder, two[0])


def test_a_job_of_two_nodes_comes_back_into_its_folder(
    experiment: str, two: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    calls, path = fake_scontrol(tmp_path / "bin"), on_path(tmp_path / "bin")
    statuses, printed = start_outside(experiment, tmp_path, "srun", PATH=path, ACCIDENT="warned:5:1")
    folder = tmp_path / "runs" / "tiny" / "17"
    assert statuses == [128 + signal.SIGUSR1] * 2, printed
    assert printed.count("SIGUSR1: saved runs/tiny/17/checkpoints/last.ckpt at step 6;") == 1
    assert printed.count("job 17 is requeued and resumes when SLURM starts it again") == 1
    assert calls.read_text().splitlines() == ["show job --oneliner 17", "requeue 17"]
    assert content(folder)["global_step"] == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "runs"]
    assert [path.name for path in (tmp_path / "runs").rglob(".launch*")] == []
    statuses, printed = start_outside(
        experiment, tmp_path, "srun", PATH=path, SLURM_RESTART_COUNT="1", ACCIDENT="warned_validating:8:-1"
    )
    assert statuses == [128 + signal.SIGUSR1] * 2, printed  # at once: the others' validation need not be waited for
    assert "Traceback" not in printed
    assert calls.read_text().splitlines() == ["show job --oneliner 17", "requeue 17"] * 2
    statuses, printed = start_outside(experiment, tmp_path, "srun", PATH=path, SLURM_RESTART_COUNT="2")
    assert statuses == [0, 0], printed
    assert printed.count("SLURM job   17, start 3 (requeued 2 times)") == 1
    assert printed.count("processes   2 = 2 nodes x 1 device (CPU), started by srun") == 1
    assert_same_run(folder, two[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--trainer.limit_val_batches", "0.5"),
            "limit_val_batches 0.5 is a fraction, which several processes would round differ",
        ),
        (("--data.val_crops", "1", "--data.val_images", "1"), "2 processes cannot share 1 validation sample; raise"),
        (("--trainer.num_nodes", "2"), "num_nodes 2, but nothing started this on other nodes"),
    ],
)
def test_what_would_leave_a_process_waiting_is_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OF_A_PAIR:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=message):
        fit.main(arguments("lpi_demo", tmp_path / "run", "2", *options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("accident", "said"), [("asleep:2:1", "is behind, in step 3, training step"), ("stuck:2:1", "is stuck")]
)
def test_who_hangs_under_lightnings_own_launcher(accident: str, said: str, experiment: str, tmp_path: Path) -> None:
    """In a step, with and without the interpreter's lock: in the first case it talks, in the second C code writes its stack."""
    done = run_two(experiment, tmp_path / "run", "--watchdog_timeout", "2", accident=accident)
    assert done.returncode == 75
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(rf"process 1 \([^)]*\) .*{said}", line)
    assert "process 0" not in line
    assert "in with_accident" in (tmp_path / "run" / "ranks" / "1.stack").read_text()
