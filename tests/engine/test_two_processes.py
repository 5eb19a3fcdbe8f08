"""`fit` in two processes: their results, signals, faults and exit statuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import forked
import pytest
import torch
import yaml
from fake_slurm import fake_scontrol, on_path, step
from fault_injection import __file__ as fault_script
from lightning.pytorch import Trainer
from tiny_pair import LAUNCH_VARIABLES, difference
from tiny_runs import TINY, assert_same_run, content, rows

from lit_inpaint import fit
from lit_inpaint.errors import UserError
from lit_inpaint.runs.checkpoint_file import read_checkpoint

pytestmark = pytest.mark.xdist_group("two processes")
CPU = ["--trainer.accelerator", "cpu", "--trainer.devices"]
SCRIPT = (str(Path(fault_script)),)
PYTHONPATH = os.pathsep.join([str(Path(fault_script).parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Batch norm and spectral norm in few parameters, EMA, and an odd number of validation samples."""
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


def environment(**variables: str) -> dict[str, str]:
    """The environment of a run's first process."""
    ours = {name: value for name, value in os.environ.items() if name not in LAUNCH_VARIABLES}
    return ours | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": PYTHONPATH, **variables}


def run_two(
    experiment: str,
    folder: Path,
    *options: str,
    fault: str | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run `fit` in two processes with half of each batch; kill a run that hangs and fail."""
    command = [*SCRIPT, *arguments(experiment, folder, "2", "--data.batch_size", "1", *options)]
    env = environment(**variables) if fault is None else environment(**variables, FAULT=fault)
    return forked.run(command, env, processes=2)


@pytest.fixture(scope="module")
def two(experiment: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("two") / "run"
    done = run_two(experiment, folder, "--wandb.mode", "offline")
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def one(experiment: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in one process with whole batches."""
    folder = tmp_path_factory.mktemp("one") / "run"
    done = run_two(experiment, folder, "--trainer.devices", "1", "--data.batch_size", "2")
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_leave_one_run(two: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = two
    assert done.stdout.count("Run directory: ") == 2  # at the start and at the end, by the first process alone
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
    options = ("--data.batch_size", "1", "--trainer.max_steps", "2", "--trainer.val_check_interval", "2")
    command = [sys.executable, "-m", "lit_inpaint.fit", *arguments("lpi_demo", folder, "2", *options)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Run directory: ") == 2
    assert [row["step"] for row in rows(folder) if "cost/parameters" not in row] == ["1", "2", "2"]
    assert {row["n"] for row in json.loads((folder / "final_evaluation.json").read_text())["rows"]} == {0, 10}


def test_an_odd_number_of_samples_is_measured_once_each(two: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Three in one process, two in the other; one process computes the final table over all five."""
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


def test_two_processes_end_as_one_with_whole_batches(two: tuple[Path, subprocess.CompletedProcess[str]], one: Path) -> None:
    folder, _ = two
    of_two, of_one = rows(folder), rows(one)
    assert len(of_two) == len(of_one)
    for a, b in zip(of_two, of_one, strict=True):
        assert a.keys() == b.keys()
        for key in a.keys() - {"train/stage"}:
            assert float(a[key]) == pytest.approx(float(b[key]), rel=1e-4), (key, a["step"])
    for a, b in zip(*(json.loads((path / "final_evaluation.json").read_text())["rows"] for path in (folder, one)), strict=True):
        assert (a["bucket"], a["metric"], a["n"]) == (b["bucket"], b["metric"], b["n"])
        assert a["n"] == 0 or a["value"] == pytest.approx(b["value"], rel=1e-4)
    assert difference(content(folder)["state_dict"], content(one)["state_dict"]) < 1e-4
    averages = [content(path)["callbacks"]["GeneratorEMA"]["weights"] for path in (folder, one)]
    assert difference(*averages) < 1e-4


def test_after_a_signal_to_any_process_all_save_and_exit_and_the_run_resumes_bit_for_bit(
    experiment: str, two: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """One run, interrupted four times."""
    folder = tmp_path / "run"
    for fault, saved, options in (
        ("loading:0:1", 1, ()),  # to the second process alone, before the first batch
        ("slow:3:0", 4, ()),  # to the first alone, in a batch before a validation; it exits late
        ("group:5:0", 6, ("--data.workers", "1")),  # to all, loader workers included, as Slurm does
        ("validation:8:1", 8, ()),  # to the second alone, in the last validation
    ):
        done = run_two(experiment, folder, *options, fault=fault)
        assert done.returncode == 128 + signal.SIGTERM, (fault, done.stderr)
        assert done.stderr.count(f"SIGTERM: saved {folder / 'checkpoints' / 'last.ckpt'} at step {saved};") == 1, fault
        assert "Traceback" not in done.stderr, fault
        assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"] == saved, fault
    assert run_two(experiment, folder).returncode == 0
    assert_same_run(folder, two[0])


def test_a_nan_in_one_process_stops_all_with_one_line(experiment: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = run_two(experiment, folder, "--checkpoint_every", "2", fault="nan:3:1")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    file = folder / "nan" / "step_0000004_rank_1.pt"
    assert line.startswith("error: step 4: l1 = nan, ")
    assert f"the batch is in {file}." in line
    assert "Traceback" not in done.stderr
    assert torch.load(file, weights_only=True)["image"].isnan().all()
    assert content(folder)["global_step"] == 2


def test_numbers_that_are_read_later_stop_all_processes_at_the_same_batch(experiment: str, tmp_path: Path) -> None:
    """As on GPUs, two batches later: values that are not finite, and a signal to one process."""
    folder = tmp_path / "nan"
    done = run_two(experiment, folder, fault="nan:4:1", DELAY="2")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert line.startswith("error: step 5: l1 = nan, ")
    assert torch.load(folder / "nan" / "step_0000005_rank_1.pt", weights_only=True)["image"].isnan().all()
    assert content(folder)["global_step"] == 4
    assert max(int(row["step"]) for row in rows(folder)) == 7
    folder = tmp_path / "signal"
    done = run_two(experiment, folder, fault="training:4:1", DELAY="2")
    assert done.returncode == 128 + signal.SIGTERM
    assert f"SIGTERM: saved {folder / 'checkpoints' / 'last.ckpt'} at step 7;" in done.stdout + done.stderr
    assert content(folder)["global_step"] == 7


def test_an_unsupported_strategy_is_one_line_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*args: object, **kwargs: object) -> None:
        raise AssertionError("the other processes were started")

    monkeypatch.setattr(Trainer, "fit", started)
    options = ("2", "--trainer.strategy", "ddp_find_unused_parameters_false", "--model.stages", "[{update: alternating}]")
    with pytest.raises(UserError, match=r"expects a gradient for every parameter .* use --trainer.strategy ddp or auto"):
        fit.main(arguments("lpi_demo", tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def start_by_launcher(
    experiment: str, folder: Path, launcher: str, watchdog_timeout: int = 90, **variables: str
) -> tuple[list[int], str]:
    """Run `fit` without a run directory in `folder`, in two processes of torchrun or srun; return statuses and text.

    The timeout is short only where a process hangs: on a busy machine a start or a batch may take seconds.
    """
    command = [*SCRIPT, *TINY, "--experiment", experiment, "--data.val_crops", "5", "--data.batch_size", "1", *CPU[:2]]
    command += ["--watchdog_timeout", str(watchdog_timeout)]
    env = environment(**variables)
    if launcher == "srun":
        logs = [folder / f"{rank}.log" for rank in range(2)]
        tasks = [forked.start(command, log, env=env | step(rank, 2, 2), cwd=folder) for rank, log in enumerate(logs)]
        statuses = [task.wait() for task in tasks]
        printed = "".join(log.read_text() for log in logs)
        for log in logs:
            log.unlink()
        return statuses, printed
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    process = subprocess.Popen(
        [*torchrun, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=env,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=100)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return [process.returncode], printed


def test_a_process_that_hangs_under_torchrun_is_named_and_the_run_resumes(
    experiment: str, two: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Without options for the run folder and devices, the processes agree, and the second start finds the first folder."""
    _, printed = start_by_launcher(experiment, tmp_path, "torchrun", 2, FAULT="starved:5:1")
    (folder,) = (tmp_path / "runs" / "tiny").iterdir()
    assert printed.count("processes   2 = 1 node x 2 devices (CPU), started by torchrun") == 1
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    pid = json.loads((folder / "ranks" / "1.json").read_text())["pid"]
    message = rf"no progress for \d s: process 1 \({socket.gethostname()}, pid {pid}\) is behind, in step 6, loading a batch "
    assert re.match(rf"error: {message}\(stack: \S+/ranks/1\.stack\)\. All processes end; .* from \S+/last\.ckpt\.", line), line
    assert "in starve" in (folder / "ranks" / "1.stack").read_text()
    assert "exitcode  : 75" in printed
    assert content(folder)["global_step"] == 4
    statuses, printed = start_by_launcher(experiment, tmp_path, "torchrun")
    assert statuses == [0], printed
    assert "Traceback" not in printed
    assert [path.name for path in (tmp_path / "runs" / "tiny").iterdir()] == [folder.name]
    assert [path.name for path in (folder / "ranks").glob("*.stack")] == []
    assert [(start["launcher"], start["step"]) for start in yaml.safe_load((folder / "launches.yaml").read_text())] == [
        ("torchrun", 0),
        ("torchrun", 4),
    ]
    assert_same_run(folder, two[0])


def test_a_requeued_job_of_two_nodes_resumes_in_its_folder(
    experiment: str, two: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    calls, path = fake_scontrol(tmp_path / "bin"), on_path(tmp_path / "bin")
    statuses, printed = start_by_launcher(experiment, tmp_path, "srun", PATH=path, FAULT="warned:5:1")
    folder = tmp_path / "runs" / "tiny" / "17"
    assert statuses == [128 + signal.SIGUSR1] * 2, printed
    assert printed.count("SIGUSR1: saved runs/tiny/17/checkpoints/last.ckpt at step 6;") == 1
    assert printed.count("job 17 is requeued and resumes when SLURM starts it again") == 1
    assert calls.read_text().splitlines() == ["show job --oneliner 17", "requeue 17"]
    assert content(folder)["global_step"] == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "runs"]
    assert [path.name for path in (tmp_path / "runs").rglob(".launch*")] == []
    statuses, printed = start_by_launcher(
        experiment, tmp_path, "srun", PATH=path, SLURM_RESTART_COUNT="1", FAULT="warned_validating:8:-1"
    )
    assert statuses == [128 + signal.SIGUSR1] * 2, printed  # at once, without waiting for the validation of the others
    assert "Traceback" not in printed
    assert calls.read_text().splitlines() == ["show job --oneliner 17", "requeue 17"] * 2
    statuses, printed = start_by_launcher(experiment, tmp_path, "srun", PATH=path, SLURM_RESTART_COUNT="2")
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
def test_options_under_which_a_process_would_wait_without_end_are_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LAUNCH_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=message):
        fit.main(arguments("lpi_demo", tmp_path / "run", "2", *options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fault", "message"), [("asleep:2:1", "is behind, in step 3, training step"), ("stuck:2:1", "is stuck")]
)
def test_a_hanging_process_of_lightnings_launcher_is_named(fault: str, message: str, experiment: str, tmp_path: Path) -> None:
    """In a step, with and without the interpreter's lock, under which only C code can write the stack."""
    done = run_two(experiment, tmp_path / "run", "--watchdog_timeout", "2", fault=fault)
    assert done.returncode == 75
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(rf"process 1 \([^)]*\) .*{message}", line)
    assert "process 0" not in line
    assert "in with_fault" in (tmp_path / "run" / "ranks" / "1.stack").read_text()
