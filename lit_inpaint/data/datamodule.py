"""Data module of every run: images, transforms and masks as `DataLoader`s for training, validation and test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from lit_inpaint.data.image_source import ImageSource
from lit_inpaint.data.inpainting_dataset import EvalDataset, MixDataset, Sample, TrainDataset, collate
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.manifest import Manifest
from lit_inpaint.data.rng import MAX_SEED
from lit_inpaint.data.samplers import EvalSampler, InfiniteSampler, MixSampler
from lit_inpaint.data.shared_memory_collate import SharedBatch, SharedMemoryCollate
from lit_inpaint.data.splits import Splits, only_first, random_subset
from lit_inpaint.data.train_mix import TrainFolder, TrainMix
from lit_inpaint.data.transforms import RandomResizedCrop, ResizedCenterCrop, Transform
from lit_inpaint.data.unreadable_images import ImageStore, OnBadFile
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError
from lit_inpaint.masks import FreeForm, MaskRatio, MaskSource, PerImageMasks
from lit_inpaint.storage.user_path import user_path
from lit_inpaint.types import Batch, as_floats

MAX_COUNT = 2**31 - 1
"""Maximum of sizes and counts; the number of a sample is a product of several of them and of the number of images."""
MAX_DEFAULT_WORKERS = 8
"""Maximum number of loader processes where `workers` is not given."""


class SharedMemoryDataLoader(DataLoader[Sample | None]):
    """A loader of uint8 batches whose shared-memory slots are all free at the start of each iteration.

    Batches that an earlier iteration prepared, and that were never fetched, keep their slots; see `SharedMemoryCollate`.
    Batches without any readable image are left out.
    """

    def __iter__(self) -> Any:
        """Iterate over uint8 batches."""
        if isinstance(self.collate_fn, SharedMemoryCollate):
            self.collate_fn = self.collate_fn.with_free_slots()
        return filter(None, super().__iter__())


class FloatDataLoader(SharedMemoryDataLoader):
    """A loader of float batches, as `lit_inpaint.types.Batch` describes them."""

    def __iter__(self) -> Any:
        """Iterate over float batches."""
        return map(as_floats, super().__iter__())


@dataclass(frozen=True)
class DatasetDefaults:
    """A data set's values for arguments of `InpaintingData` that the user leaves out."""

    root: str | None = None
    train_transform: Transform = field(default_factory=RandomResizedCrop)
    val_transform: Transform = field(default_factory=ResizedCenterCrop)
    val_crops: int = 1
    repeat: int = 1
    cache: bool = False


class InpaintingData(LightningDataModule, ABC):
    """Base of all data sets: images with masks. A subclass implements `splits`, which lists the files; all else is here.

    It works with and without a trainer. Two runs with the same settings get the same samples, see `rng.py`. The training order
    is an infinite stream, see `InfiniteSampler`: `max_steps` rather than epochs limits a run.

    Args:
        root: folder of the images. None: the data set's default folder.
        size: side of the square samples in pixels.
        batch_size: samples per batch and process.
        masks: source of the training masks. Of several sources, each training image is used once with each, under the same
            transform and one after the other, so an epoch has as many times more samples. None: free-form strokes with a mask
            ratio of 10 to 50 %.
        val_masks: every evaluation image is used once with each of these sources. None: those that belong to `masks`, which
            only `NvidiaMasks` has; else free-form strokes with mask ratios of 10-20, 20-30, 30-40 and 40-50 % (the four buckets
            of LPI-Net, section 4.2).
        train_transform: crop, resize or augmentation of a training image. None: the data set's default.
        val_transform: the same for an evaluation image. A random transform is drawn from the sample's number. `NativeSize`
            keeps the images' own sizes, with one image per batch. None: the data set's default.
        val_images: maximum number of validation images, chosen at random by `seed`. None: all.
        test_images: the same for testing.
        val_crops: crops of each evaluation image, for a random `val_transform`. None: the data set's default.
        repeat: passes over the training images that count as one epoch. None: the data set's default.
        workers: number of loader processes; 0 loads in the main process. None: one per available core, at most 8.
        on_bad_file: `skip` names an unreadable image file, replaces it in training and leaves it out in evaluation; `stop` ends
            the run.
        cache: keep decoded images in memory (sets of at most 2,000 files and 2 GiB). None: the data set's default.
        overfit_images: train, validate and test on the first N training images, to see whether a network can learn them by
            heart. None: the splits as they are.
        seed: seed of order, transforms, masks, random splits and subsets.
        mix: further folders of training images, used by turns with the data set's own, each at its own size; see `TrainMix`.

    Raises:
        UserError: a number is out of range.
    """

    expected_layout: ClassVar[str]
    """What `root` should contain, for messages."""

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
        overfit_images: int | None = None,
        seed: int = 0,
        mix: TrainMix | None = None,
    ) -> None:
        super().__init__()
        defaults = self.defaults(root)
        self.root = str(user_path(root)) if root else defaults.root
        self.size = _require_min(1, "size", size)
        self.batch_size = _require_min(1, "batch_size", batch_size)
        if masks is None:
            masks = MaskRatio(FreeForm(), 0.1, 0.5)
        self.masks = (masks,) if isinstance(masks, MaskSource) else tuple(masks)
        _require_min(1, "masks", len(self.masks))
        if val_masks is None:
            val_masks = [source for training in self.masks for source in training.evaluation_masks()]
            val_masks = val_masks or [MaskRatio(FreeForm(), tens / 10, (tens + 1) / 10) for tens in (1, 2, 3, 4)]
        self.val_masks = tuple(val_masks)
        _require_min(1, "val_masks", len(self.val_masks))
        self.train_transform = train_transform or defaults.train_transform
        if not self.train_transform.square:
            raise UserError(
                f"data.train_transform {type(self.train_transform).__name__} keeps images in their own sizes, which do not "
                "stack to batches; it is for data.val_transform"
            )
        self.val_transform = val_transform or defaults.val_transform
        self.val_images = None if val_images is None else _require_min(1, "val_images", val_images)
        self.test_images = None if test_images is None else _require_min(1, "test_images", test_images)
        self.val_crops = defaults.val_crops if val_crops is None else _require_min(1, "val_crops", val_crops)
        self.repeat = defaults.repeat if repeat is None else _require_min(1, "repeat", repeat)
        self.workers = None if workers is None else _require_min(0, "workers", workers)
        self.on_bad_file = on_bad_file
        self.cache = defaults.cache if cache is None else cache
        self.overfit_images = None if overfit_images is None else _require_min(1, "overfit_images", overfit_images)
        self.seed = _require_min(0, "seed", seed, MAX_SEED)
        self.mix = mix
        self._splits: Splits | None = None
        self._train_dataset: TrainDataset | None = None
        self._mixed_datasets: list[TrainDataset] = []
        self._eval_datasets: dict[str, EvalDataset] = {}

    @classmethod
    def defaults(cls, root: str | None) -> DatasetDefaults:
        """Return the values of arguments that the user leaves out, given the `root` argument."""
        return DatasetDefaults()

    @abstractmethod
    def splits(self) -> Splits:
        """List the images of each split. A split may be empty as long as no stage needs it."""

    def root_folder(self) -> Path:
        """Return the root folder.

        Raises:
            UserError: no root is given, or it is missing or empty; the message has the expected layout.
        """
        if self.root is None:
            raise UserError(f"{type(self).__name__} needs --data.root DIR, a folder with {self.expected_layout}")
        folder = Path(self.root)
        if not folder.is_dir() or not any(folder.iterdir()):
            raise self._missing_error("files" if folder.is_dir() else "folder")
        return folder

    def prepare_data(self) -> None:
        """List the files, so that a missing folder fails early; downloads nothing."""
        self.images()

    def setup(self, stage: str) -> None:
        """Create and check the datasets of `stage` (`fit`, `validate` or `test`); existing ones are kept.

        Raises:
            UserError: a split that the stage needs has no images.
        """
        splits = self.images()
        if stage == "fit" and self._train_dataset is None:
            store = self._make_store("training", splits.train, self.masks)
            self._train_dataset = TrainDataset(store, self.size, self.train_transform, self.masks, self.seed)
            folders = self.mix.folders if self.mix else []
            self._mixed_datasets = [self._mixed_dataset(*pair) for pair in zip(folders, self.mixed_images(), strict=True)]
        if stage in ("fit", "validate"):
            self._setup_eval("validation", splits.val)
        if stage == "test":
            self._setup_eval("test", splits.test)

    def train_dataloader(self) -> DataLoader[Sample | None]:
        """Return an infinite loader of training batches that starts at the trainer's `global_step`."""
        if self._train_dataset is None:
            raise RuntimeError("call setup('fit') first")
        # Edges, which some papers need, are computed in the loader processes.
        detector = getattr(self.trainer.lightning_module, "edge_detector", None) if self.trainer else None
        for train_dataset in (self._train_dataset, *self._mixed_datasets):
            train_dataset.edge_detector = detector
        own = self._train_sampler(self._train_dataset, self.batch_size, self.repeat)
        mixed = [
            self._train_sampler(dataset, folder.batch_size)
            for dataset, folder in zip(self._mixed_datasets, self.mix.folders if self.mix else (), strict=True)
        ]
        workers = self._num_workers()
        dataset: Dataset[Any] = self._train_dataset
        batching: dict[str, Any] = {"batch_size": self.batch_size, "sampler": own, "drop_last": True}
        if self.mix:
            dataset = MixDataset([self._train_dataset, *self._mixed_datasets])
            counts = [self.mix.batches, *(folder.batches for folder in self.mix.folders)]
            batching = {"batch_size": None, "sampler": MixSampler([own, *mixed], counts, own.start_batch)}
        return self._loader_class(
            dataset,
            **batching,
            num_workers=workers,
            collate_fn=self._collate(workers, bytes_per_pixel=4 if detector is None else 5),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # without it, the loader draws its workers' seed from the global generator
            persistent_workers=workers > 0,
        )

    def val_dataloader(self) -> DataLoader[Sample | None]:
        """Return a loader of every validation image under every mask source, once over all ranks."""
        return self._eval_dataloader("validation")

    def test_dataloader(self) -> DataLoader[Sample | None]:
        """Return a loader of every test image under every mask source, once over all ranks."""
        return self._eval_dataloader("test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Convert a uint8 batch to floats, on its device; to float64 if the trainer's precision is 64-true."""
        double = self.trainer is not None and self.trainer.precision == "64-true"
        return as_floats(batch, torch.float64 if double else torch.float32)

    def teardown(self, stage: str) -> None:
        """Warn with the number of unreadable images during the run, if any."""
        replaced = self._train_dataset.store.num_unreadable() if self._train_dataset else 0
        counts = [f"{replaced:,} training image(s) could not be read and others took their places"] if replaced else []
        for split, dataset in self._eval_datasets.items():
            if unreadable := dataset.unreadable():
                counts.append(f"{len(unreadable):,} {split} image(s) could not be read and were left out")
        if counts:
            names_all = "`python -m lit_inpaint.prepare --check_only` names them all"
            rank_zero_warn(f"{'; '.join(counts)}; {names_all}", stacklevel=2)

    def samples(self, split: Literal["val", "test"] = "val") -> EvalDataset:
        """Return the samples of an evaluation of this split. Needs `setup`."""
        return self._eval_dataset(split)

    @property
    def fallback(self) -> str:
        """Why the images are not the data set's own in its own split; empty where they are, or where there is none."""
        return self.images().fallback

    def manifest(self, split: Literal["val", "test"] = "val") -> Manifest:
        """Return the list of samples in an evaluation of this split; see `Manifest`. Needs `setup`."""
        return Manifest(self._eval_dataset(split))

    def min_side(self, split: Literal["val", "test"] = "val") -> tuple[int, str]:
        """Return the shortest side of this split's samples, in pixels, and the path of its image. Needs `setup`."""
        return self._eval_dataset(split).min_side()

    def describe(self) -> str:
        """Describe the data in one line: class, root, counts, how it was split, and the first digits of each split's hash."""
        splits = self.images()
        counts = f"{len(splits.train):,} train, {len(splits.val):,} val, {len(splits.test):,} test images ({splits.note})"
        hashes = " ".join(split.digest()[:8] for split in (splits.train, splits.val, splits.test))
        sizes = "" if self.val_transform.square else f" ({self.val_transform.describe(self.size)})"
        shown = f"evaluation shows each{sizes} {self.val_crops} x {len(self.val_masks)} times (crops x mask sources)"
        mix = "".join(f"; mixed with {each.root} at {each.size} px" for each in self.mix.folders) if self.mix else ""
        root = f" {self.root}" if self.root else ""
        return f"{type(self).__name__}{root}: {counts}, lists {hashes}; {self.size} px; {shown}{mix}"

    def images(self) -> Splits:
        """Return the splits, with at most `val_images` and `test_images` images; listed once."""
        if self._splits is None:
            found = self.splits()
            if self.overfit_images is not None:
                found = only_first(found, self.overfit_images)
            self._splits = replace(
                found,
                val=random_subset(found.val, self.val_images, self.seed),
                test=random_subset(found.test, self.test_images, self.seed),
            )
        return self._splits

    def train_shapes(self) -> list[tuple[int, int]]:
        """Return the side of the images in pixels, and the number of samples, of each kind of training batch."""
        return [
            (self.size, self.batch_size),
            *((folder.size, folder.batch_size) for folder in (self.mix.folders if self.mix else ())),
        ]

    def mixed_images(self) -> list[ImageSource]:
        """List the images of each folder of `mix`; none without a `mix`. They are only trained on."""
        found: list[ImageSource] = []
        for folder in self.mix.folders if self.mix else ():
            if not (root := Path(folder.root)).is_dir() or not len(images := list_images(root)):
                raise UserError(f"data.mix: no images at {folder.root}; correct the root of this folder, or leave it out")
            found.append(images)
        return found

    def _make_store(self, split: str, images: ImageSource, masks: tuple[MaskSource, ...]) -> ImageStore:
        if not len(images):
            raise self._missing_error(f"{split} images")
        store = ImageStore(images, self.on_bad_file, self.cache)
        for source in masks:
            if isinstance(source, PerImageMasks):
                source.check([store.source.key(index) for index in range(len(store))])
        return store

    def _mixed_dataset(self, folder: TrainFolder, images: ImageSource) -> TrainDataset:
        masks = self.masks if folder.masks is None else (folder.masks,)
        store = ImageStore(images, self.on_bad_file, self.cache)
        return TrainDataset(store, folder.size, folder.transform, masks, self.seed)

    def _train_sampler(self, dataset: TrainDataset, batch_size: int, repeat: int = 1) -> InfiniteSampler:
        trainer, (rank, world_size) = self.trainer, self._rank_and_world_size()
        return InfiniteSampler(
            count=len(dataset),
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            seed=self.seed,
            start_batch=lambda: trainer.global_step if trainer else 0,
            repeat=repeat,
            samples_per_image=len(dataset.masks),
        )

    def _missing_error(self, what: str) -> UserError:
        fix = f"put {self.expected_layout} there, or name any other folder of images: --data.root DIR"
        if self.root is not None and Path(self.root).is_file():
            fix += " (this is a file; an archive has to be unpacked)"
        return UserError(f"{type(self).__name__}: no {what} at {self.root}; {fix}")

    def _setup_eval(self, split: str, images: ImageSource) -> None:
        if split not in self._eval_datasets:
            store = self._make_store(split, images, self.val_masks)
            dataset = EvalDataset(store, self.size, self.val_transform, self.val_masks, self.seed, self.val_crops)
            if not self.val_transform.square:
                dataset.min_side()  # raises now for images that the transform does not accept
            self._eval_datasets[split] = dataset

    def _eval_dataset(self, split: Literal["val", "test"]) -> EvalDataset:
        return self._eval_datasets["validation" if split == "val" else "test"]

    def _eval_dataloader(self, split: str) -> DataLoader[Sample | None]:
        if split not in self._eval_datasets:
            raise RuntimeError(f"call setup first: no {split} images are set up")
        dataset, (rank, world_size) = self._eval_datasets[split], self._rank_and_world_size()
        if len(dataset) < world_size:  # Lightning would skip the loop on ranks without samples, and the others would hang
            raise UserError(
                f"{len(dataset)} {split} samples for {world_size} processes; use fewer (--trainer.devices), or show the images "
                "in more ways (--data.val_crops)"
            )
        workers = self._num_workers()
        return self._loader_class(
            dataset,
            self.batch_size if self.val_transform.square else 1,
            sampler=EvalSampler(len(dataset), rank, world_size),
            num_workers=workers,
            collate_fn=self._collate(workers),
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
        )

    @property
    def _loader_class(self) -> type[DataLoader[Sample | None]]:
        """Under a trainer, batches become floats on the device, see `on_after_batch_transfer`; without one, in the loader."""
        return SharedMemoryDataLoader if self.trainer else FloatDataLoader

    def _collate(
        self, workers: int, bytes_per_pixel: int = 4
    ) -> Callable[[Sequence[Sample | None]], Batch | SharedBatch | None]:
        """Each loader process needs four slots: one in the making, two waiting (torch's `prefetch_factor`), one being read."""
        pixels = [self.batch_size * self.size**2]
        pixels += [folder.batch_size * folder.size**2 for folder in self.mix.folders] if self.mix else []
        return SharedMemoryCollate(4 * workers, bytes_per_pixel * max(pixels)) if workers else collate

    def _rank_and_world_size(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _num_workers(self) -> int:
        if self.workers is not None:
            return self.workers
        return max(1, min(MAX_DEFAULT_WORKERS, available_cores() // (self.trainer.num_devices if self.trainer else 1)))


def _require_min(minimum: int, name: str, value: int, maximum: int = MAX_COUNT) -> int:
    if not minimum <= value <= maximum:
        limit = f"at least {minimum}" if value < minimum else f"at most {maximum}"
        raise UserError(f"data.{name} is {value}, it must be {limit}")
    return value
