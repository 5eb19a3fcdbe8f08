"""The images of a run are recorded, compared when it resumes, and compared with those of an evaluation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_runs

from lit_inpaint import evaluate
from lit_inpaint.data import Folder, ListFile
from lit_inpaint.data.split_record import describe_changes, record_splits, trained_on
from lit_inpaint.data.train_mix import TrainFolder, TrainMix
from lit_inpaint.errors import UserError

Write = Callable[..., Path]
OPTIONS = ["--data.class_path", "Folder", "--data.size", "32", "--data.batch_size", "2", "--data.workers", "0"]
STEPS = "--trainer.max_steps"


def train(folder: Path, root: Path, steps: int) -> int:
    masks = ["--data.val_masks", "[{class_path: lit_inpaint.masks.Center}]"]
    return tiny_runs.run(folder, *OPTIONS, *masks, "--data.root", str(root), STEPS, str(steps))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `images/` and `run/`, a run of two steps on them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("same_images")
    (folder / "images").mkdir()
    for number in range(24):
        Image.new("RGB", (20, 20), (number, 2 * number, 3)).save(folder / "images" / f"{number:02}.png")
    assert train(folder / "run", folder / "images", 2) == 0
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`, whose images lie elsewhere than those of the training."""
    shutil.copytree(trained, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_run_directory_and_the_checkpoint_record_the_images(trained: Path) -> None:
    found = Folder(str(trained / "images")).splits()
    recorded = json.loads((trained / "run" / "splits.json").read_text())
    in_checkpoint = tiny_runs.content(trained / "run")["splits"]
    assert recorded["note"] == found.note
    for name in ("train", "val", "test"):
        images = getattr(found, name)
        assert recorded[name]["images"] == in_checkpoint[name]["images"] == len(images)
        assert recorded[name]["sha256"] == in_checkpoint[name]["sha256"] == images.digest()
        assert in_checkpoint[name]["paths"].shape == (len(images),)


def test_a_run_resumes_on_the_same_images_elsewhere(copied: Path) -> None:
    (copied / "images").rename(copied / "moved")
    for path in (copied / "moved").iterdir():
        path.rename(path.with_suffix(".PNG"))
    assert train(copied / "run", copied / "moved", 3) == 0


@pytest.mark.parametrize(
    ("added", "removed", "message"),
    [
        (["x1", "x2"], [], r"now 24 train images instead of 22: 2 more \(.*/x1\.png, .*/x2\.png\) and 0 fewer; restore"),
        ([], ["00", "01"], r"now 20 train images instead of 22: 0 more and 2 fewer; restore the files, or start a new run"),
        (["x1"], ["00"], r"now 22 train images instead of 22: 1 more \(.*/x1\.png\) and 1 fewer; restore the files"),
    ],
)
def test_a_run_does_not_resume_on_other_images(
    copied: Path, write: Write, added: list[str], removed: list[str], message: str
) -> None:
    for name in added:
        write(f"copy/images/{name}.png")
    for name in removed:
        (copied / "images" / f"{name}.png").unlink()
    before = (copied / "run" / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=message) as error:
        train(copied / "run", copied / "images", 3)
    assert "\n" not in str(error.value)
    assert (copied / "run" / "config.yaml").read_bytes() == before


def test_held_out_images_that_were_trained_on_are_named(
    trained: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, output = trained / "run" / "checkpoints" / "last.ckpt", tmp_path / "out.json"
    argv = ["--checkpoint", str(checkpoint), "--data.root", str(trained / "images")]
    assert evaluate.main([*argv, "--split", "val"]) == 0
    assert "trained on" not in capsys.readouterr().err
    seeds = (seed for seed in range(1, 9) if len(_trained_on(trained / "images", seed)) > 1)
    seed = next(seeds)
    expected = _trained_on(trained / "images", seed)
    assert evaluate.main([*argv, "--data.seed", str(seed), "--split", "test", "--output", str(output)]) == 0
    printed = capsys.readouterr()
    images = Folder(str(trained / "images"), seed=seed).splits().test
    line = (
        f"LPINet ({checkpoint}) was trained on {len(expected)} of the {len(images)} test images: {expected[0]}, {expected[1]}"
    )
    assert f"warning: {line}" in printed.err
    assert "was trained on" in printed.out
    assert json.loads(output.read_text())["notes"][-1].startswith(line)

    argv[-1] = str(copied / "images")
    assert evaluate.main([*argv, "--data.seed", str(seed), "--split", "test"]) == 0
    where = f"images with the same paths below {trained / 'images'} as {len(expected)} of the {len(images)} test images"
    assert f"was trained on {where}: {copied}" in capsys.readouterr().err


def test_images_of_a_mix_were_trained_on(write: Write, tmp_path: Path) -> None:
    for name in ("images/train/0", "images/val/1", "other/2"):
        write(f"{name}.png")
    mix = TrainMix([TrainFolder(str(tmp_path / "other"), size=8, batch_size=1)])
    record = record_splits(Folder(str(tmp_path / "images"), mix=mix))
    assert not trained_on(record, Folder(str(tmp_path / "images")), "test")
    lists = ListFile(root=str(tmp_path / "images"), test=str(tmp_path / "list.txt"))
    (tmp_path / "list.txt").write_text("val/1.png\n../other/2.png\n")
    assert trained_on(record, lists, "test") == [str(tmp_path / "images" / ".." / "other" / "2.png")]
    write("other/3.png")
    (change,) = describe_changes(record, Folder(str(tmp_path / "images"), mix=mix), "train")
    assert change.startswith("2 mixed images instead of 1: 1 more (")


def test_folders_added_to_a_mix_or_taken_from_it_are_changes(write: Write, tmp_path: Path) -> None:
    for name in ("images/train/0", "images/val/1", "a/2", "b/3"):
        write(f"{name}.png")

    def data(*names: str) -> Folder:
        folders = [TrainFolder(str(tmp_path / name), size=8, batch_size=1) for name in names]
        return Folder(str(tmp_path / "images"), mix=TrainMix(folders) if folders else None)

    for before, now in (("", "a"), ("a", ""), ("a", "ab"), ("ab", "a")):
        record = record_splits(data(*before))
        assert describe_changes(record, data(*now), "train") == [f"{len(now)} folders in data.mix instead of {len(before)}"]
        assert not describe_changes(record, data(*now), "val")


def test_an_evaluated_split_that_has_changed_is_noted(copied: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """The root of the configuration is that of the training, so the run is one of its own."""
    root, run_dir = copied / "images", copied / "another"
    assert train(run_dir, root, 1) == 0
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    number = len(Folder(str(root)).splits().test)
    for name in range(60):
        write(f"copy/images/more{name}.png", size=(20, 20))
    found = len(Folder(str(root)).splits().test)
    assert evaluate.main(["--checkpoint", str(checkpoint)]) == 0
    assert f"now {found} test images instead of {number}: " in capsys.readouterr().err


def _trained_on(root: Path, seed: int) -> list[str]:
    trained = set(Folder(str(root)).splits().train)
    return [str(path) for path in Folder(str(root), seed=seed).splits().test if path in trained]
