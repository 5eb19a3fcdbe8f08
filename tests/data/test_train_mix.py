from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch

from lit_inpaint.data import Folder, TrainFolder, TrainMix
from lit_inpaint.data.samplers import InfiniteSampler, MixSampler
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Center

Write = Callable[..., Path]


def mixed(tmp_path: Path, workers: int = 0) -> Folder:
    large = TrainFolder(str(tmp_path / "large"), size=16, batch_size=2, masks=Center())
    return Folder(
        str(tmp_path / "small"),
        size=8,
        batch_size=4,
        masks=Center(4),
        workers=workers,
        mix=TrainMix([large], batches=2),
    )


@pytest.fixture
def images(write: Write, tmp_path: Path) -> Path:
    for number in range(5):
        write(f"small/train/{number}.png", number, (8, 8))
        write(f"large/{number}.png", number, (20, 20))
    write("small/val/9.png")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_take_turns_and_have_their_own_size(images: Path, workers: int) -> None:
    data = mixed(images, workers)
    data.setup("fit")
    batches = list(islice(data.train_dataloader(), 6))
    assert [tuple(batch["image"].shape) for batch in batches] == [(4, 3, 8, 8), (4, 3, 8, 8), (2, 3, 16, 16)] * 2
    assert [int(batch["mask"][0].sum()) for batch in batches[:3]] == [16, 16, 64]
    assert f"mixed with {images / 'large'} at 16 px" in data.describe()


def test_the_data_sets_own_batches_are_those_without_a_mix(images: Path) -> None:
    alone = Folder(str(images / "small"), size=8, batch_size=4, masks=Center(4), workers=0)
    data = mixed(images)
    for each in (alone, data):
        each.setup("fit")
    own = [batch for batch in islice(data.train_dataloader(), 6) if len(batch["image"]) == 4]
    for batch, expected in zip(own, alone.train_dataloader(), strict=False):
        assert batch["name"] == expected["name"]
        assert torch.equal(batch["image"], expected["image"])


def test_the_stream_resumes_in_the_middle_of_a_cycle_and_is_shared_by_ranks() -> None:
    def stream(start: int, rank: int, world_size: int, batch_size: int) -> MixSampler:
        parts = [InfiniteSampler(count, batch_size, rank, world_size, 0, lambda: 0) for count in (5, 7)]
        return MixSampler(parts, (2, 1), lambda: start)

    whole = list(islice(stream(0, 0, 1, 4), 9))
    assert [part for part, _ in whole] == [0, 0, 1] * 3
    assert list(islice(stream(4, 0, 1, 4), 5)) == whole[4:]
    halves = [list(islice(stream(0, rank, 2, 2), 9)) for rank in (0, 1)]
    assert [(part, first + second) for (part, first), (_, second) in zip(*halves, strict=True)] == whole


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrainFolder("x", size=0, batch_size=1), "data.mix: size of x is 0"),
        (lambda: TrainFolder("x", size=1, batch_size=1, batches=0), "data.mix: batches of x is 0"),
        (lambda: TrainMix([]), "at least one folder"),
    ],
)
def test_values_out_of_range_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_a_missing_folder_is_named(images: Path) -> None:
    data = Folder(str(images / "small"), size=8, mix=TrainMix([TrainFolder(str(images / "none"), 8, 1)]))
    with pytest.raises(UserError, match=r"data\.mix: no images at .*none; correct the root"):
        data.setup("fit")
