import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_gan
import yaml
from PIL import Image

from lit_inpaint import fit

Write = Callable[..., Path]

logging.getLogger("lightning.pytorch").propagate = True
"""So that `caplog` sees what it logs, also where pytest sets up its own handlers after Lightning was imported (pytest 8)."""


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """What a test, W&B or Lightning put into the environment is not for the next test, nor for processes that it starts.

    But for where W&B's helper process is, which W&B keeps up itself.
    """
    before = dict(os.environ)
    yield
    for name in (os.environ.keys() | before.keys()) - {"WANDB_SERVICE"}:
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name]:
            os.environ[name] = before[name]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a finished run of two steps on 32x32 crops of the demo photographs."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    argv = ["--experiment", "lpi_demo", "--run_dir", str(run), "--wandb.mode", "disabled", "--baselines", "false"]
    argv += ["--data.size", "32", "--data.batch_size", "2", "--data.val_crops", "1", "--num_samples", "1"]
    argv += ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.enable_progress_bar", "false"]
    try:
        assert fit.main(argv) == 0
    finally:
        os.environ.pop("LIT_INPAINT_RUN_DIR", None)  # meant for the processes of a run, not for the next test
    return run / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def tiny_experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Options that name an experiment of a few hundred parameters; its paper counts as one of the package meanwhile."""
    path = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    model = {"class_path": "lit_inpaint.papers.tiny_gan.TinyGAN"}
    data = {"class_path": "lit_inpaint.data.DemoPhotos", "init_args": {"workers": 0}}
    path.write_text(yaml.safe_dump({"model": model, "data": data}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_gan.TinyGAN, "__module__", "lit_inpaint.papers.tiny_gan")
        patch.setitem(sys.modules, "lit_inpaint.papers.tiny_gan", tiny_gan)
        yield ["--experiment", str(path)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a small, distinct image below `tmp_path` and return its path."""

    def save(name: str, number: int = 0, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
        return path

    return save
