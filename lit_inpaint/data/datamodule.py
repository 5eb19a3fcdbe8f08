"""The data module every run uses: what is trained on, how it is looked at, and with which holes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.data.inpainting_dataset import EvalDataset, Sample, TrainDataset, collate
from lit_inpaint.data.manifest import Manifest
from lit_inpaint.data.samplers import EvalSampler, InfiniteSampler
from lit_inpaint.data.shared_memory_collate import SharedBatch, SharedMemoryCollate
from lit_inpaint.data.splits import Splits, random_subset
from lit_inpaint.data.transforms.crops import RandomResizedCrop, ResizedCenterCrop, Transform
from lit_inpaint.data.unreadable_images import ImageStore, OnBadFile
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError
from lit_inpaint.masks import FreeForm, MaskRatio, MaskSource, PerImageMasks
from lit_inpaint.types import Batch, as_floats

WORKERS = 8
"""Most loader processes that are started unasked."""


class SharedMemoryDataLoader(DataLoader[Sample]):
    """A loader that forgets, with each iteration, which batches of the one before were on their way and never asked for."""

    def __iter__(self) -> Any:
        """Batches of bytes."""
        if isinstance(self.collate_fn, SharedMemoryCollate):
            self.collate_fn = self.collate_fn.anew()
        return super().__iter__()


class FloatDataLoader(SharedMemoryDataLoader):
    """A loader whose batches keep the contract of `lit_inpaint.types`."""

    def __iter__(self) -> Any:
        """Batches of floats."""
        return map(as_floats, super().__iter__())


@dataclass(frozen=True)
class DatasetDefaults:
    """What a data set uses where the user says nothing; the fields are arguments of `InpaintingData`."""

    root: str | None = None
    train_transform: Transform = field(default_factory=RandomResizedCrop)
    val_transform: Transform = field(default_factory=ResizedCenterCrop)
    val_crops: int = 1
    repeat: int = 1
    cache: bool = False


class InpaintingData(LightningDataModule, ABC):
    """Images with holes, from files. A data set says in `splits` which files these are; everything else is here.

    Works with and without a trainer. Nothing is random between two runs of the same settings, see `seeds.py`; the training
    order is one endless stream, see `InfiniteSampler`, so `max_steps` rather than epochs says how long a run is.

    Args:
        root: folder of the images. None: the data set's usual place.
        size: side of the square samples in pixels.
        batch_size: samples per batch and process.
        masks: source of the training holes. Of several, each training image comes once under each, in the same view, one after
            the other, so an epoch has as many times more samples. None: free-form strokes that cover 10 to 50 %.
        val_masks: evaluation shows every image once under each of these. None: free-form strokes that cover 10-20, 20-30, 30-40
            and 40-50 % (the four damage ratios of LPI-Net, section 4.2).
        train_transform: what is cut out of a training image. None: the data set's own.
        val_transform: what is cut out of an evaluation image; a random view is drawn from the sample's number. `NativeSize` shows
            images in their own sizes, one in a batch. None: the data set's own.
        val_images: at most so many validation images, drawn by `seed`. None: all.
        test_images: the same for testing.
        val_crops: views of each evaluation image, for a random `val_transform`. None: the data set's own.
        repeat: passes over the training images that count as one epoch. None: the data set's own.
        workers: loader processes, 0 loads in the main process. None: a process per core that is ours, at most 8.
        on_bad_file: an unreadable image file is named and replaced (`skip`), or ends the run (`stop`).
        cache: keep decoded images in memory (sets of at most 2,000 files and 2 GiB). None: the data set's own.
        seed: of order, views, masks, split and choice.

    Raises:
        UserError: a number is out of range.
    """

    expected_layout: ClassVar[str]
    """What to put into `root`, for messages."""

    def __init__(
        self,
        root: str | None = None,
        size: int = 256,
        batch_size: int = 8,
        masks: MaskSource | list[MaskSource] | None = None,
        val_masks: list[MaskSource] | None = None,
        train_transform: Transform | None = None,
        val_transform: Transform | None = None,
        val_images: int | None = None,
        test_images: int | None = None,
        val_crops: int | None = None,
        repeat: int | None = None,
        workers: int | None = None,
        on_bad_file: OnBadFile = "skip",
        cache: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        own = self.defaults(root)
        self.root = root or own.root
        self.size = _at_least(1, "size", size)
        self.batch_size = _at_least(1, "batch_size", batch_size)
        if masks is None:
            masks = MaskRatio(FreeForm(), 0.1, 0.5)
        self.masks = (masks,) if isinstance(masks, MaskSource) else tuple(masks)
        _at_least(1, "masks", len(self.masks))
        if val_masks is None:
            val_masks = [MaskRatio(FreeForm(), tens / 10, (tens + 1) / 10) for tens in (1, 2, 3, 4)]
        self.val_masks = tuple(val_masks)
        _at_least(1, "val_masks", len(self.val_masks))
        self.train_transform = train_transform or own.train_transform
        if not self.train_transform.square:
            raise UserError(
                f"data.train_transform {type(self.train_transform).__name__} shows images in their own sizes, which do not stack to "
                "batches; it is for data.val_transform"
            )
        self.val_transform = val_transform or own.val_transform
        self.val_images = None if val_images is None else _at_least(1, "val_images", val_images)
        self.test_images = None if test_images is None else _at_least(1, "test_images", test_images)
        self.val_crops = own.val_crops if val_crops is None else _at_least(1, "val_crops", val_crops)
        self.repeat = own.repeat if repeat is None else _at_least(1, "repeat", repeat)
        self.workers = None if workers is None else _at_least(0, "workers", workers)
        self.on_bad_file = on_bad_file
        self.cache = own.cache if cache is None else cache
        self.seed = _at_least(0, "seed", seed)
        self._lists: Splits | None = None
        self._train_dataset: TrainDataset | None = None
        self._held_out: dict[str, EvalDataset] = {}

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """What holds where the user says nothing, given the `root` argument."""
        return DatasetDefaults()

    @abstractmethod
    def splits(self) -> Splits:
        """The files of each split. A split may be empty as long as nobody asks for it."""

    def root_folder(self) -> Path:
        """The root folder.

        Raises:
            UserError: none is named, or it is missing or empty; says what belongs there.
        """
        if self.root is None:
            raise UserError(f"{type(self).__name__} needs --data.root DIR, a folder with {self.expected_layout}")
        folder = Path(self.root)
        if not folder.is_dir() or not any(folder.iterdir()):
            raise self._nothing("files" if folder.is_dir() else "folder")
        return folder

    def prepare_data(self) -> None:
        """Fails early where there is nothing to read; downloads nothing."""
        self._listed()

    def setup(self, stage: str) -> None:
        """Finds and checks the files of `stage` (`fit`, `validate` or `test`); what is set up already stays.

        Raises:
            UserError: a split that the stage needs has no images.
        """
        lists = self._listed()
        if stage == "fit" and self._train_dataset is None:
            store = self._store("training", lists.train, self.masks)
            self._train_dataset = TrainDataset(store, self.size, self.train_transform, self.masks, self.seed)
        if stage in ("fit", "validate"):
            self._hold_out("validation", lists.val)
        if stage == "test":
            self._hold_out("test", lists.test)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Batches of the training stream from the trainer's `global_step` on, for ever."""
        if self._train_dataset is None:
            raise RuntimeError("call setup('fit') first")
        trainer, (rank, world) = self.trainer, self._rank()
        sampler = InfiniteSampler(
            count=len(self._train_dataset),
            batch_size=self.batch_size,
            rank=rank,
            world=world,
            seed=self.seed,
            position=lambda: trainer.global_step if trainer else 0,
            repeat=self.repeat,
            in_a_row=len(self.masks),
        )
        workers = self._workers()
        return self._loader(
            self._train_dataset,
            self.batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=self._collate(workers),
            pin_memory=torch.cuda.is_available(),
            drop_last=True,
            generator=torch.Generator(),  # or the loader would draw its workers' seed from the global one
            persistent_workers=workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Every validation image under every mask source, once over all ranks."""
        return self._held_out_loader("validation")

    def test_dataloader(self) -> DataLoader[Sample]:
        """Every test image under every mask source, once over all ranks."""
        return self._held_out_loader("test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Bytes become floats on the device."""
        return as_floats(batch)

    def teardown(self, stage: str) -> None:
        """Says how many images could not be read, where that came to light on the way."""
        stores = ([self._train_dataset.store] if self._train_dataset else []) + [
            photos.store for photos in self._held_out.values()
        ]
        if met := sum(store.num_unreadable() for store in stores):
            rank_zero_warn(
                f"{met:,} image file(s) could not be read and others took their places; `python -m lit_inpaint.prepare "
                "--check_only` names them all",
                stacklevel=2,
            )

    def manifest(self, split: Literal["val", "test"] = "val") -> Manifest:
        """What an evaluation of this split shows: images, views and holes; see `Manifest`. Needs `setup`."""
        return Manifest(self._held_out["validation" if split == "val" else "test"])

    def min_side(self, split: Literal["val", "test"] = "val") -> tuple[int, str]:
        """The shortest side of what an evaluation of this split shows, in pixels, and the image's path. Needs `setup`."""
        return self._held_out["validation" if split == "val" else "test"].min_side()

    def describe(self) -> str:
        """One line: what, where, how many, how they were told apart, and the first digits of the hash of each split's list."""
        lists = self._listed()
        counts = f"{len(lists.train):,} train, {len(lists.val):,} val, {len(lists.test):,} test images ({lists.note})"
        hashes = " ".join(split.digest()[:8] for split in (lists.train, lists.val, lists.test))
        own = "" if self.val_transform.square else f" ({self.val_transform.describe(self.size)})"
        shown = f"evaluation shows each{own} {self.val_crops} x {len(self.val_masks)} times (views x mask sources)"
        return f"{type(self).__name__}{f' {self.root}' if self.root else ''}: {counts}, lists {hashes}; {self.size} px; {shown}"

    def _listed(self) -> Splits:
        if self._lists is None:
            found = self.splits()
            val, test = (
                random_subset(found.val, self.val_images, self.seed),
                random_subset(found.test, self.test_images, self.seed),
            )
            self._lists = replace(found, val=val, test=test)
        return self._lists

    def _store(self, split: str, pictures: ImageSource, masks: tuple[MaskSource, ...]) -> ImageStore:
        if not len(pictures):
            raise self._nothing(f"{split} images")
        store = ImageStore(pictures, self.on_bad_file, self.cache)
        for source in masks:
            if isinstance(source, PerImageMasks):
                source.check([store.source.key(place) for place in range(len(store))])
        return store

    def _nothing(self, what: str) -> UserError:
        mend = f"put {self.expected_layout} there, or name any other folder of images: --data.root DIR"
        return UserError(f"{type(self).__name__}: no {what} at {self.root}; {mend}")

    def _hold_out(self, split: str, pictures: ImageSource) -> None:
        if split not in self._held_out:
            store = self._store(split, pictures, self.val_masks)
            photos = EvalDataset(store, self.size, self.val_transform, self.val_masks, self.seed, self.val_crops)
            if not self.val_transform.square:
                photos.min_side()  # what the view cannot show is met now
            self._held_out[split] = photos

    def _held_out_loader(self, split: str) -> DataLoader[Sample]:
        if split not in self._held_out:
            raise RuntimeError(f"call setup first: no {split} images are set up")
        photos, (rank, world) = self._held_out[split], self._rank()
        if len(photos) < world:  # Lightning would skip the idle processes' part, and the others would wait for them for ever
            raise UserError(
                f"{len(photos)} {split} samples for {world} processes; use fewer (--trainer.devices), or show the images in "
                "more ways (--data.val_crops)"
            )
        workers = self._workers()
        return self._loader(
            photos,
            self.batch_size if self.val_transform.square else 1,
            sampler=EvalSampler(len(photos), rank, world),
            num_workers=workers,
            collate_fn=self._collate(workers),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )

    @property
    def _loader(self) -> type[DataLoader[Sample]]:
        """Under a trainer bytes become floats on its device, without one in the loader."""
        return SharedMemoryDataLoader if self.trainer else FloatDataLoader

    def _collate(self, workers: int) -> Callable[[Sequence[Sample]], Batch | SharedBatch]:
        """Of each loader process one batch is being made, two are waiting (torch's `prefetch_factor`), one is being opened."""
        return SharedMemoryCollate(4 * workers, 4 * self.batch_size * self.size**2) if workers else collate

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _workers(self) -> int:
        if self.workers is not None:
            return self.workers
        cores = available_cores()
        return max(1, min(WORKERS, cores // (self.trainer.num_devices if self.trainer else 1)))


def _at_least(least: int, name: str, value: int) -> int:
    if value < least:
        raise UserError(f"data.{name} is {value}, it must be at least {least}")
    return value
