import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from slurm import Slurm, missing
from torchrun_nodes import Nodes

INSTALL = "LIT_INPAINT_INSTALL_SLURM"
PACKAGES = ("slurm-wlm", "munge")


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A real SLURM; the tests are skipped with a reason where it is not installed and may not be."""
    why = f"{INSTALL}=1 installs them"
    if missing() and os.environ.get(INSTALL) == "1":
        why = install()
    if lacking := missing():
        pytest.skip(f"no SLURM here: {', '.join(lacking)} not found; they are in the packages {' and '.join(PACKAGES)}; {why}")
    with Slurm() as cluster:
        yield cluster


def install() -> str:
    """Install the packages; return the reason of a failure, empty on success."""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return f"{INSTALL}=1 needs root and apt-get"
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
    """A working directory with `one.yaml` and `two.yaml`, which differ in their seed, and this Python as its `.venv`."""
    folder = tmp_path_factory.mktemp("project")
    adam = {"eps": 1e-3}  # with the default 1e-8, rounding errors give Adam steps as large as gradients do
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
def uninterrupted(project: Path) -> Path:
    """Run directory of `one.yaml`, trained by two processes on one node."""
    with Nodes(project, 1, "--wandb.mode", "disabled", "--run_dir", "runs/uninterrupted", GPUS="2") as nodes:
        assert nodes.statuses() == [0], nodes.logs()
    return project / "runs" / "uninterrupted"
