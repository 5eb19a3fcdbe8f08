import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from lit_inpaint.data import CelebA, DemoPhotos, Folder, InpaintingData, NativeSize, RandomResizedCrop, read_image
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.edges import CannyEdges
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Center, FreeForm, MaskRatio, PerImageMasks
from lit_inpaint.types import Batch, check_batch

Write = Callable[..., Path]


@pytest.fixture
def root(write: Write, tmp_path: Path) -> str:
    for i in range(7):
        write(f"train/{i}.png", i)
    for i in range(3):
        write(f"val/{i}.jpg", 10 + i)
    return str(tmp_path)


def _data(root: str, **options: Any) -> Folder:
    data = Folder(root, **{"size": 16, "batch_size": 4, "workers": 0, **options})
    data.setup("fit")
    return data


def _digest(batches: Iterator[Batch]) -> str:
    total = hashlib.sha256()
    for batch in batches:
        total.update(batch["image"].numpy().tobytes() + batch["mask"].numpy().tobytes() + repr(batch["name"]).encode())
    return total.hexdigest()


def _by_name(batch: Batch) -> list[tuple[str, bytes]]:
    """Name and pixels of each sample."""
    content = zip(batch["name"], batch["image"], batch["mask"], strict=True)
    return [(name, image.numpy().tobytes() + mask.numpy().tobytes()) for name, image, mask in content]


def _digests(data: InpaintingData) -> list[str]:
    return [_digest(islice(data.train_dataloader(), 4)), _digest(iter(data.val_dataloader()))]


@pytest.mark.parametrize("kind", [Folder, CelebA, DemoPhotos])
def test_batches_keep_the_contract(kind: type[InpaintingData], root: str) -> None:
    data = kind(root=root, size=16, batch_size=4, workers=0)
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    for batch in islice(data.train_dataloader(), 6):
        assert 0.1 <= check_batch(batch) < 0.5
        assert batch["image"].shape == (4, 3, 16, 16)
    for loader in (data.val_dataloader(), data.test_dataloader()):
        batches = list(loader)
        assert all(0.1 <= check_batch(batch) < 0.5 for batch in batches)
        assert sum(len(batch["name"]) for batch in batches) == 3 * 4


class _FakeTrainer(SimpleNamespace):
    """The attributes of a trainer that the data module reads."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        super().__init__(
            global_step=0, global_rank=rank, world_size=world, num_devices=1, lightning_module=None, precision="32-true"
        )


@pytest.mark.parametrize("workers", [0, 1])
def test_training_batches_have_the_edges_that_the_paper_needs(root: str, workers: int) -> None:
    """Edges of the complete image, from the detector of the model in training; not in evaluation, nor for other papers."""
    data, detector = _data(root, batch_size=2, workers=workers), CannyEdges(sigma=1.0)
    data.trainer = _FakeTrainer()
    data.trainer.lightning_module = SimpleNamespace(edge_detector=detector)
    for raw in islice(data.train_dataloader(), 2):
        assert (raw["edges"].dtype, raw["edges"].shape) == (torch.uint8, raw["mask"].shape)
        batch = data.on_after_batch_transfer(raw, 0)
        check_batch(batch)
        assert torch.equal(batch["edges"], detector(batch["image"]))
        assert batch["edges"].any()
    assert "edges" not in next(iter(data.val_dataloader()))
    data.trainer.lightning_module = SimpleNamespace()
    assert "edges" not in next(iter(data.train_dataloader()))


def test_two_ranks_train_on_the_samples_of_one_rank_with_the_joined_batch(root: str) -> None:
    def samples(rank: int, world: int, batch_size: int) -> list[bytes]:
        data = _data(root, batch_size=batch_size)
        data.trainer = _FakeTrainer(rank, world)
        batches = islice(data.train_dataloader(), 5)
        return [b["image"][i].numpy().tobytes() + b["mask"][i].numpy().tobytes() for b in batches for i in range(batch_size)]

    left, right, both = samples(0, 2, 2), samples(1, 2, 2), samples(0, 1, 4)
    assert [*left, *right] != both
    assert sorted([*left, *right]) == sorted(both)
    assert len(set(both)) == len(both)


def test_under_a_trainer_batches_become_floats_on_the_device(root: str) -> None:
    data = _data(root)
    floats = next(iter(data.train_dataloader()))
    data.trainer = _FakeTrainer()
    sent = next(iter(data.train_dataloader()))
    assert sent["image"].dtype == sent["mask"].dtype == torch.uint8
    on_device = data.on_after_batch_transfer(sent, 0)
    assert on_device["name"] == floats["name"]
    assert torch.equal(on_device["image"], floats["image"])
    assert torch.equal(on_device["mask"], floats["mask"])
    data.trainer.precision = "64-true"
    double = data.on_after_batch_transfer(sent, 0)
    assert double["image"].dtype == double["mask"].dtype == torch.float64
    assert torch.equal(double["image"].float(), floats["image"])


def test_teardown_counts_unreadable_images(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0)
    for name in ("train/1.png", "val/0.jpg"):
        Path(root, name).write_bytes(b"no image")
    data = _data(root, workers=2)
    list(islice(data.train_dataloader(), 6))
    list(data.val_dataloader())
    with pytest.warns(UserWarning, match=r"^1 training image\(s\) could .*; 1 validation image\(s\) could .*prepare"):
        data.teardown("fit")


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_leaves_unreadable_images_out(
    workers: int, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of two samples: one batch has no readable image, and none has another image in its place."""
    options = {"val_crops": 2, "val_masks": [Center(4), FreeForm()], "batch_size": 2, "workers": workers}
    expected = {name: i for batch in _data(root, **options).val_dataloader() for name, i in _by_name(batch) if name[0] != "1"}
    monkeypatch.setattr("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0)
    Path(root, "val/1.jpg").write_bytes(b"no image")
    data = _data(root, **options)
    log = tmp_path / "warnings"  # of this process and of loader processes
    monkeypatch.setattr(warnings, "warn", lambda message, **_: log.open("a").write(f"{message}\n"))
    for _ in range(2):
        found = [sample for batch in data.val_dataloader() for sample in _by_name(batch)]
        assert len(found) == 8
        assert dict(found) == expected
    assert sum("val/1.jpg" in line and "leaves it out" in line for line in log.read_text().splitlines()) == 1
    lines = data.manifest("val").text.splitlines()
    assert lines[0].startswith("# 8 samples of 2 images, ")
    assert "# left out, as it could not be read: 1" in lines
    assert [line.split(",")[0] for line in lines if line[0] != "#"][1:] == list(expected)
    assert f"# images: SHA-256 of their names {Folder(root).splits().val.take(np.array([0, 2])).digest()}" in lines
    with pytest.raises(UserError, match=r"cannot read .*val/1\.jpg"):
        list(_data(root, **options, on_bad_file="stop").val_dataloader())


def test_two_processes_leave_the_same_image_out_and_name_it_once(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0)
    Path(root, "val/1.jpg").write_bytes(b"no image")

    def names_of(rank: int) -> list[str]:
        data = _data(root, val_masks=[Center(4), FreeForm(), Center(2)])
        data.trainer = _FakeTrainer(rank, 2)
        return [name for batch in data.val_dataloader() for name in batch["name"]]

    with pytest.warns(UserWarning, match="leaves it out") as caught:
        names = names_of(0) + names_of(1)
    assert sorted(names) == ["0 #0", "0 #1", "0 #2", "2 #0", "2 #1", "2 #2"]
    assert len(caught) == 1


def test_an_image_that_can_be_read_again_is_evaluated_again(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0)
    path = Path(root, "val/1.jpg")
    content = path.read_bytes()
    data = _data(root)
    before = data.manifest("val").digest
    path.write_bytes(b"no image")
    with pytest.warns(UserWarning, match="leaves it out"):
        list(data.val_dataloader())
    assert data.manifest("val").digest != before
    path.write_bytes(content)
    list(data.val_dataloader())
    assert data.manifest("val").digest == before


def test_samples_are_the_same_in_another_process_and_with_workers(root: str) -> None:
    expected = _digests(_data(root))
    assert all(_digests(_data(root, workers=workers)) == expected for workers in (2, 4))
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_datamodule as t; "
    script += f"print(*t._digests(t._data({root!r})))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.split() == expected


def test_persistent_workers_restart_at_the_global_step(root: str) -> None:
    data = _data(root, workers=2)
    data.trainer = _FakeTrainer()
    loader = data.train_dataloader()
    whole = list(islice(loader, 6))
    data.trainer.global_step = 4
    assert _digest(islice(loader, 2)) == _digest(iter(whole[4:]))


def test_training_samples_change_in_every_epoch(root: str) -> None:
    batches = list(islice(_data(root, batch_size=7).train_dataloader(), 2))
    first, second = ({n: i for i, n in enumerate(batch["name"])} for batch in batches)
    assert sorted(first) == sorted(second) == [str(i) for i in range(7)]
    for name, i in first.items():
        assert not torch.equal(batches[0]["mask"][i], batches[1]["mask"][second[name]])
        assert not torch.equal(batches[0]["image"][i], batches[1]["image"][second[name]])


def test_validation_samples_are_the_same_in_every_epoch_and_differ_from_training(root: str) -> None:
    data = _data(root)
    loader = data.val_dataloader()
    assert _digest(iter(loader)) == _digest(iter(loader))
    held_out = next(iter(loader))["mask"]
    trained = next(iter(data.train_dataloader()))["mask"]
    assert not any(torch.equal(a, b) for a in held_out for b in trained)


def test_two_ranks_together_evaluate_the_samples_of_one_rank(root: str) -> None:
    def samples(rank: int, world: int) -> dict[str, tuple[bytes, bytes]]:
        data = _data(root)
        data.trainer = _FakeTrainer(rank, world)
        rows = [row for b in data.val_dataloader() for row in zip(b["name"], b["image"], b["mask"], strict=True)]
        found = {name: (image.numpy().tobytes(), mask.numpy().tobytes()) for name, image, mask in rows}
        assert len(found) == len(rows)
        return found

    left, right = samples(0, 2), samples(1, 2)
    assert not left.keys() & right.keys()
    assert left | right == samples(0, 1)


def test_each_image_is_evaluated_once_under_every_mask_source(root: str) -> None:
    sources = [MaskRatio(FreeForm(), 0.1, 0.2), Center(), MaskRatio(FreeForm(), 0.4, 0.5)]
    batches = list(_data(root, val_masks=sources, batch_size=3).val_dataloader())
    assert [batch["name"] for batch in batches] == [[f"{i} #{m}" for m in range(3)] for i in range(3)]
    for batch in batches:
        ratios = batch["mask"].mean(dim=(1, 2, 3))
        assert 0.1 <= ratios[0] < 0.2
        assert 0.4 <= ratios[2] < 0.5
        assert torch.equal(batch["image"][0], batch["image"][2])


def test_val_crops_evaluates_several_crops_of_each_image(root: str) -> None:
    data = _data(root, val_crops=2, val_transform=RandomResizedCrop((0.3, 0.9)), val_masks=[Center()], batch_size=6)
    (batch,) = data.val_dataloader()
    assert batch["name"] == ["0 @0", "1 @0", "2 @0", "0 @1", "1 @1", "2 @1"]
    assert not torch.equal(batch["image"][0], batch["image"][3])


def test_val_images_and_test_images_limit_the_splits(root: str) -> None:
    data = _data(root, val_images=2, test_images=1, val_masks=[Center()])
    data.setup("test")
    assert [len(data.val_dataloader().dataset), len(data.test_dataloader().dataset)] == [2, 1]
    assert "7 train, 2 val, 1 test images" in data.describe()


def test_a_broken_file_in_a_worker_raises_a_one_line_error(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0)
    (Path(root) / "train" / "3.png").write_bytes(b"broken")
    loader = _data(root, workers=1, on_bad_file="stop").train_dataloader()
    with pytest.raises(UserError, match=r"^cannot read .*3\.png as an image .*$"):
        list(islice(loader, 4))


def test_the_global_generator_is_not_used(root: str) -> None:
    data = _data(root)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    _digests(data)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_setup_keeps_the_datasets(root: str) -> None:
    data = _data(root)
    loaders = data.train_dataloader(), data.val_dataloader()
    data.setup("fit")
    data.setup("validate")
    assert data.train_dataloader().dataset is loaders[0].dataset
    assert data.val_dataloader().dataset is loaders[1].dataset


@pytest.mark.parametrize(
    "option", ["size", "batch_size", "val_images", "test_images", "val_crops", "repeat", "workers", "seed"]
)
def test_the_error_for_a_number_out_of_range_names_the_option(option: str) -> None:
    with pytest.raises(UserError, match=f"data.{option} is -1"):
        DemoPhotos(**{option: -1})


def test_settings_survive_a_round_trip_through_yaml() -> None:
    stroke = {"class_path": "lit_inpaint.masks.FreeForm"}
    options = {
        "size": 32,
        "masks": {"class_path": "lit_inpaint.masks.MaskRatio", "init_args": {"source": stroke, "low": 0.1, "high": 0.3}},
        "val_masks": [{"class_path": "lit_inpaint.masks.Center"}, stroke],
        "train_transform": {"class_path": "lit_inpaint.data.RandomResizedCrop", "init_args": {"scale": [0.3, 0.9]}},
        "on_bad_file": "stop",
    }
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(InpaintingData, "data")
    dumped = parser.dump(parser.parse_object({"data": {"class_path": "lit_inpaint.data.DemoPhotos", "init_args": options}}))
    again = parser.parse_string(dumped)
    assert parser.dump(again) == dumped
    data = parser.instantiate(again).data
    assert isinstance(data, DemoPhotos)
    assert (data.size, data.on_bad_file, data.repeat) == (32, "stop", 200)
    assert data.masks == (MaskRatio(FreeForm(), 0.1, 0.3),)
    assert data.val_masks == (Center(), FreeForm())
    assert data.train_transform == RandomResizedCrop((0.3, 0.9), flip=0.5)


class _Recorder(LightningModule):
    """Count one step per batch, as the engine does, and record the names of the samples."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.layer = torch.nn.Linear(1, 1)
        self.folder = folder
        self.trained: list[list[str]] = []
        self.validated: list[str] = []

    def training_step(self, batch: Batch) -> None:
        self.trained.append(batch["name"])
        optimizer = self.optimizers()
        optimizer.step()

    def validation_step(self, batch: Batch) -> None:
        self.validated += batch["name"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_fit_end(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{self.global_rank}.json").write_text(json.dumps([self.trained, self.validated]))


def _fit(
    root: str, folder: Path, batch_size: int, steps: int, checkpoint: Path | None = None, ranks: int = 1
) -> list[tuple[list[list[str]], list[str]]]:
    """Train with three batches per epoch, and return the training batches and validation samples of each rank."""
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", devices=ranks, strategy="ddp_fork" if ranks > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        num_sanity_val_steps=0, check_val_every_n_epoch=None, val_check_interval=steps,
    )  # fmt: skip
    data = _data(root, batch_size=batch_size, val_masks=[Center()])
    trainer.fit(_Recorder(folder), datamodule=data, ckpt_path=checkpoint)
    trainer.save_checkpoint(folder / "last.ckpt")
    return [tuple(json.loads((folder / f"{rank}.json").read_text())) for rank in range(ranks)]


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_fit_continues_with_the_remaining_samples(root: str, tmp_path: Path) -> None:
    ((whole, _),) = _fit(root, tmp_path / "whole", 2, steps=11)
    ((part, _),) = _fit(root, tmp_path / "part", 2, steps=5)  # stopped in the middle of the second epoch
    ((rest, _),) = _fit(root, tmp_path / "part", 2, steps=11, checkpoint=tmp_path / "part" / "last.ckpt")
    assert [len(part), len(rest)] == [5, 6]
    assert part + rest == whole


@pytest.mark.filterwarnings("ignore")
def test_lightning_does_not_shard_the_samplers_again(root: str, tmp_path: Path) -> None:
    ((joined, validated),) = _fit(root, tmp_path / "one", 4, steps=5)
    left, right = _fit(root, tmp_path / "two", 2, steps=5, ranks=2)
    assert [a + b for a, b in zip(left[0], right[0], strict=True)] == joined
    assert validated == ["0", "1", "2"]
    assert [left[1], right[1]] == [["0", "2"], ["1"]]


def test_several_mask_sources_are_used_in_turn_under_one_transform(root: str) -> None:
    sources = [Center(4), Center(8), MaskRatio(FreeForm(), 0.4, 0.5)]
    transform = RandomResizedCrop((0.3, 0.9))
    data = _data(root, batch_size=6, train_transform=transform, masks=sources)
    assert len(data.train_dataloader()) == 7 * 3 // 6
    for batch in islice(data.train_dataloader(), 5):
        names, masks = batch["name"], batch["mask"]
        assert [names[0]] * 3 + [names[3]] * 3 == names
        assert [int(mask.sum()) for mask in masks[[0, 1, 3, 4]]] == [16, 64, 16, 64]
        assert not torch.equal(masks[2], masks[5])
        for first in (0, 3):
            assert torch.equal(batch["image"][first], batch["image"][first + 2])
    assert _digest(islice(_data(root, masks=[Center(4)]).train_dataloader(), 3)) == _digest(
        islice(_data(root, masks=Center(4)).train_dataloader(), 3)
    )
    with pytest.raises(UserError, match="masks is 0"):
        _data(root, masks=[])


SIZES = ((40, 30), (21, 33), (35, 35))  # width x height
NATIVE: dict[str, Any] = {"val_transform": NativeSize(), "val_masks": [MaskRatio(FreeForm(), 0.2, 0.3), Center()]}


@pytest.fixture
def many_sizes(root: str, write: Write) -> str:
    for i, size in enumerate(SIZES):
        write(f"val/{i}.jpg", 10 + i, size=size)
    return root


def test_evaluation_in_native_sizes(many_sizes: str) -> None:
    """Images are those of the files, masks are drawn at their sizes from (seed, number), and training uses squares."""
    data = _data(many_sizes, seed=3, **NATIVE)
    batches = list(data.val_dataloader())
    assert [batch["name"] for batch in batches] == [[f"{i} #{m}"] for i in range(3) for m in range(2)]
    for number, batch in enumerate(batches):
        width, height = SIZES[number // 2]
        assert batch["image"].shape == (1, 3, height, width)
        check_batch(batch)
        assert torch.equal((batch["image"][0] * 255).round().byte(), read_image(f"{many_sizes}/val/{number // 2}.jpg"))
        source = NATIVE["val_masks"][number % 2]
        assert torch.equal(batch["mask"][0], source((height, width), generator(3, RngStream.EVAL_MASK, number)))
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 16, 16)
    assert data.min_side() == (21, f"{many_sizes}/val/1.jpg")
    assert "16 px; evaluation shows each (original sizes) 1 x 2 times" in data.describe()


def test_native_sizes_with_workers_and_ranks(many_sizes: str) -> None:
    def samples(rank: int, world: int, workers: int) -> dict[str, tuple[bytes, bytes]]:
        data = _data(many_sizes, workers=workers, **NATIVE)
        data.trainer = _FakeTrainer(rank, world)
        return {
            batch["name"][0]: (batch["image"].numpy().tobytes(), batch["mask"].numpy().tobytes())
            for batch in data.val_dataloader()
        }

    whole = samples(0, 1, 0)
    assert len(whole) == 6
    assert samples(0, 1, 2) == whole
    left, right = samples(0, 2, 0), samples(1, 2, 0)
    assert not left.keys() & right.keys()
    assert left | right == whole


def test_per_image_masks_are_cropped_like_their_images(many_sizes: str, tmp_path: Path) -> None:
    for i, (width, height) in enumerate(SIZES):
        mask = Image.new("L", (width, height))
        mask.paste(255, (3, 5, 9, 20))
        (tmp_path / "holes").mkdir(exist_ok=True)
        mask.save(tmp_path / "holes" / f"{i}.png")
    masks = [PerImageMasks(str(tmp_path / "holes"))]
    for batch, (width, height) in zip(
        _data(many_sizes, val_transform=NativeSize(multiple=4), val_masks=masks).val_dataloader(), SIZES, strict=True
    ):
        hole = torch.zeros(height, width)
        hole[5:20, 3:9] = 1
        top, left = round(height % 4 / 2), round(width % 4 / 2)
        assert torch.equal(batch["mask"][0, 0], hole[top : top + height // 4 * 4, left : left + width // 4 * 4])


def test_errors_of_native_sizes(many_sizes: str) -> None:
    with pytest.raises(
        UserError, match=r"data\.train_transform NativeSize keeps images in their own sizes.*data\.val_transform"
    ):
        Folder(many_sizes, train_transform=NativeSize())
    with pytest.raises(UserError, match=r"val/1\.jpg: NativeSize\(multiple=24\) does not accept an image of 21x33 pixels"):
        _data(many_sizes, val_transform=NativeSize(multiple=24))
