import multiprocessing
import pickle
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lit_inpaint.data import Folder
from lit_inpaint.data.inpainting_dataset import Sample, collate
from lit_inpaint.data.shared_memory_collate import SharedMemoryCollate
from lit_inpaint.types import Batch

SIDE, BATCH = 12, 4


class Numbered(Dataset[Sample]):
    """Sample i is filled with i; `odd` has another height."""

    def __init__(self, count: int, odd: int | None = None) -> None:
        self.count, self.odd = count, odd

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        height = SIDE + (index == self.odd)
        image = torch.full((height, SIDE, 3), index, dtype=torch.uint8).permute(2, 0, 1)
        return {"image": image, "mask": torch.full((1, height, SIDE), index % 2, dtype=torch.uint8), "name": f"{index}"}


def loader_of(dataset: Numbered, collate_fn: SharedMemoryCollate, workers: int = 2, batch: int = BATCH) -> DataLoader[Sample]:
    return DataLoader(dataset, batch, num_workers=workers, collate_fn=collate_fn)


def is_right(batch: Batch, first: int) -> bool:
    numbers = [int(name) for name in batch["name"]]
    images = all(bool((image == number).all()) for image, number in zip(batch["image"], numbers, strict=True))
    masks = all(bool((mask == number % 2).all()) for mask, number in zip(batch["mask"], numbers, strict=True))
    return numbers[0] == first and images and masks


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slots whose batches came through the shared memory."""
    slots: list[int] = []
    before = SharedMemoryCollate.unpack

    def counted(self: SharedMemoryCollate, slot: int, *content: Any) -> Batch:
        slots.append(slot)
        return before(self, slot, *content)

    monkeypatch.setattr(SharedMemoryCollate, "unpack", counted)
    return slots


def test_batches_equal_those_of_collate_and_own_their_memory(opened: list[int]) -> None:
    collate_fn = SharedMemoryCollate(4, 4 * BATCH * SIDE**2)
    batches = cast(Sequence[Batch], list(loader_of(Numbered(50), collate_fn)))
    assert len(batches) == len(opened) == 13  # more than there are slots, and all are kept
    assert all(is_right(batch, number * BATCH) for number, batch in enumerate(batches))
    assert batches[-1]["image"].shape == (2, 3, SIDE, SIDE)
    assert batches[-1]["mask"].shape == (2, 1, SIDE, SIDE)
    plain = collate([Numbered(50)[number] for number in range(BATCH)])
    assert batches[0]["image"].stride() == plain["image"].stride()
    assert not any(batch["image"].is_shared() for batch in batches)


def test_two_iterators_of_one_loader_do_not_interfere() -> None:
    loader = loader_of(Numbered(80), SharedMemoryCollate(8, 4 * BATCH * SIDE**2))
    for number, (one, other) in enumerate(zip(loader, loader, strict=True)):
        assert is_right(cast(Batch, one), number * BATCH)
        assert is_right(cast(Batch, other), number * BATCH)


def test_unfetched_batches_keep_slots_but_nothing_breaks() -> None:
    loader = loader_of(Numbered(80), SharedMemoryCollate(3, 4 * BATCH * SIDE**2))
    for _ in range(3):
        assert is_right(cast(Batch, next(iter(loader))), 0)
    assert all(is_right(cast(Batch, batch), number * BATCH) for number, batch in enumerate(loader))


@pytest.mark.parametrize(("pixels", "odd"), [(SIDE**2 - 1, None), (SIDE**2, 1)])
def test_batches_that_do_not_fit_are_sent_by_torch(opened: list[int], pixels: int, odd: int | None) -> None:
    batches = list(loader_of(Numbered(6, odd), SharedMemoryCollate(4, 4 * pixels), batch=1))
    assert all(is_right(cast(Batch, batch), number) for number, batch in enumerate(batches))
    assert len(opened) == (0 if odd is None else 5)


def test_shared_memory_is_not_used_in_the_main_process(opened: list[int]) -> None:
    batches = list(loader_of(Numbered(8), SharedMemoryCollate(4, 4 * BATCH * SIDE**2), workers=0))
    assert all(is_right(cast(Batch, batch), number * BATCH) for number, batch in enumerate(batches))
    assert not opened


def test_shared_memory_is_not_used_in_a_process_that_is_not_forked(opened: list[int]) -> None:
    copy = pickle.loads(pickle.dumps(SharedMemoryCollate(4, 4 * BATCH * SIDE**2)))
    assert all(is_right(cast(Batch, batch), number * BATCH) for number, batch in enumerate(loader_of(Numbered(8), copy)))
    assert not opened


def test_a_lock_that_is_never_released_only_costs_time(opened: list[int]) -> None:
    """As when a loader process is killed while it acquires a slot."""
    collate_fn = SharedMemoryCollate(4, 4 * BATCH * SIDE**2)
    held = multiprocessing.Process(target=collate_fn._lock.acquire)
    held.start()
    held.join()
    loader = DataLoader(Numbered(4), BATCH, num_workers=1, collate_fn=collate_fn, timeout=20)
    assert is_right(cast(Batch, next(iter(loader))), 0)
    assert not opened


def test_the_data_module_uses_shared_memory(tmp_path: Path, opened: list[int]) -> None:
    for number in range(24):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = Folder(str(tmp_path), size=32, batch_size=2, workers=2)
    data.setup("fit")
    next(iter(data.train_dataloader()))
    list(data.val_dataloader())
    assert len(opened) >= 2


def test_a_loader_left_early_restarts_with_all_slots_free(tmp_path: Path, opened: list[int]) -> None:
    for number in range(60):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = Folder(str(tmp_path), size=32, batch_size=1, workers=1, val_crops=5)
    data.setup("fit")
    loader = data.val_dataloader()
    for _ in range(6):
        assert len(list(islice(loader, 2))) == 2
    assert len(opened) >= 12
