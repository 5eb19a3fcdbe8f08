import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from by_hand import Nodes
from slurm import Slurm, missing

INSTALL = "LIT_INPAINT_INSTALL_SLURM"
PACKAGES = ("slurm-wlm", "munge")


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A real one; where it is not installed, and may not be, the tests are skipped and say why."""
    why = f"{INSTALL}=1 installs them"
    if missing() and os.environ.get(INSTALL) == "1":
        why = install()
    if lacking := missing():
        pytest.skip(f"no SLURM here: {', '.join(lacking)} not found; they are in the packages {' and '.join(PACKAGES)}; {why}")
    with Slurm() as cluster:
        yield cluster


def install() -> str:
    """Install the packages where that can be done; returns what was in the way, nothing if all went well."""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return f"{INSTALL}=1 takes root and apt-get"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(
                ["apt-get", "--quiet", *command], env=environment, capture_output=True, text=True, timeout=240
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {command[0]} took more than four minutes"
        if done.returncode != 0:
            return f"apt-get {command[0]} failed: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]}"
    return ""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to start from: `one.yaml` and `two.yaml`, which differ in their seed, and these tests' Python as its `.venv`."""
    folder = tmp_path_factory.mktemp("project")
    adam = {"eps": 1e-3}  # with the usual 1e-8 a step of Adam is as large for rounding as for a gradient
    settings = {
        "base": str(Path(__file__).parents[2] / "experiments" / "lpi_demo.yaml"),
        "model": {"init_args": {"generator_optimizer": adam, "discriminator_optimizer": adam}},
        "data": {
            "init_args": {
                "size": 32,
                "batch_size": 1,
                "repeat": 1,
                "val_images": 1,
                "val_crops": 5,
                "val_masks": [{"class_path": "lit_inpaint.masks.Center"}],
            }
        },
        "baselines": False,
        "ema": 0.5,
        "num_samples": 1,
        "checkpoint_every": 1000,
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 12,
            "val_check_interval": 6,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
        },
    }
    for seed, name in enumerate(("one", "two")):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**settings, "seed": seed}))
    activate = folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"export PATH={Path(sys.executable).parent}:$PATH CUDA_VISIBLE_DEVICES=\n")
    return folder


@pytest.fixture(scope="session")
def undisturbed(project: Path) -> Path:
    """The run folder of `one.yaml`, trained to its end by two processes of one machine."""
    with Nodes(project, 1, "--wandb.mode", "disabled", "--run_dir", "runs/undisturbed", GPUS="2") as nodes:
        assert nodes.statuses() == [0], nodes.logs()
    return project / "runs" / "undisturbed"
