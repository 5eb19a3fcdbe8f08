"""TensorBoard shows the numbers of metrics.csv and the grids of samples/ at the same steps, over interruptions."""

import io
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import rows, run, run_killed

from lit_inpaint.errors import UserError
from lit_inpaint.loggers.tensorboard import tensorboard_logger


@pytest.fixture(scope="module")
def folder(tiny_experiment: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in step 7 and resumed from the checkpoint of step 4."""
    path = tmp_path_factory.mktemp("tensorboard") / "run"
    options = [*tiny_experiment, "--tensorboard", "true"]
    run_killed(path, 7, "training_step", *options)
    assert run(path, *options) == 0
    return path


@pytest.fixture(scope="module")
def events(folder: Path) -> EventAccumulator:
    assert len(list((folder / "tensorboard").glob("events.out.tfevents.*"))) == 2
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def test_the_numbers_of_metrics_csv(folder: Path, events: EventAccumulator) -> None:
    expected: dict[str, list[tuple[int, float]]] = {}
    for row in rows(folder):
        for name, value in row.items():
            if name not in ("step", "train/stage"):
                expected.setdefault(name, []).append((int(row["step"]), float(value)))
    tags = set(events.Tags()["scalars"])
    assert tags == {*expected, "train/images_per_second"}
    for name, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in values], name
        assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-7) for (_, a), (_, b) in zip(found, values, strict=True)), name
    assert {"cost/parameters", "val/psnr", "train/generator"} <= tags


def test_the_grids_of_samples(folder: Path, events: EventAccumulator) -> None:
    images = events.Images("val/samples")
    assert [image.step for image in images] == [4, 8]
    for image in images:
        with Image.open(folder / "samples" / f"step_{image.step:07d}.png") as page:
            drawn = np.asarray(page.convert("RGB"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string)).convert("RGB")), drawn)


def test_text(events: EventAccumulator) -> None:
    texts = events.Tensors("train/stage/text_summary")
    assert {event.step for event in texts} == set(range(1, 9))  # TensorBoard drops repeated numbers and images only
    assert {event.tensor_proto.string_val[0] for event in texts} == {b"adversarial"}


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"tensorboard is not installed; run pip install 'lit_inpaint\[tensorboard\]'"):
        tensorboard_logger(tmp_path, None)
