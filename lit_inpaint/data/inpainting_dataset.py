"""Datasets: an image, its transform and its mask, all determined by the sample's number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.data.samplers import TrainKey
from lit_inpaint.data.transforms import Transform
from lit_inpaint.data.unreadable_images import ImageStore
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource, PerImageMasks
from lit_inpaint.storage.image_decode import UnreadableImageError
from lit_inpaint.types import Batch

RngKey = tuple[int, int, int]
"""Arguments of `rng.generator`: seed, stream, number."""


class Sample(TypedDict):
    """One sample before collation: `image` (3, H, W) uint8, `mask` (1, H, W) uint8, 0 or 1 (1 = hole), and `name`.

    H and W are the same for all samples, unless the transform keeps the images' own sizes.
    """

    image: Tensor
    mask: Tensor
    name: str


class TrainDataset(Dataset[Sample]):
    """Training samples by (image index, position in the stream); see `InfiniteSampler`.

    The transform is drawn from (seed, position // M) and the mask from (seed, position), where M is the number of mask sources:
    an image that comes again has another transform and another mask. Position j uses mask source j % M, and the M samples of
    visit j // M share one transform. A plain index i, which Lightning requests under `overfit_batches`, stands for (i, i):
    always the same transform and mask.

    Args:
        store: the images.
        size: side of the samples in pixels.
        transform: crops, resizes or augments an image.
        masks: the M mask sources, used in turn.
        seed: seed of all draws.
    """

    def __init__(self, store: ImageStore, size: int, transform: Transform, masks: Sequence[MaskSource], seed: int) -> None:
        self.store = store
        self.size = size
        self.transform = transform
        self.masks = tuple(masks)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: TrainKey | int) -> Sample:
        """Return the sample of `key`, named after its file."""
        index, position = (key, key) if isinstance(key, int) else key
        visit, source = divmod(position, len(self.masks))
        transform_key, mask_key = (self.seed, RngStream.TRAIN_TRANSFORM, visit), (self.seed, RngStream.TRAIN_MASK, position)
        return _make_sample(self.store, index, self.size, self.transform, self.masks[source], transform_key, mask_key)


class EvalDataset(Dataset[Sample]):
    """Evaluation samples: every crop of every image under every mask source.

    With M mask sources and N images, sample i is crop c of image n under source m, where i = (c * N + n) * M + m. The transform
    is drawn from (seed, i // M) and the mask from (seed, i): the same on every rank, worker, epoch and machine.

    Args:
        store: the N images.
        size: side of the samples in pixels; unused by a transform that keeps the images' own sizes.
        transform: crops, resizes or augments an image. It may be random, as its draws depend on the sample's number alone.
        masks: the M mask sources, such as one for each mask-ratio bucket.
        seed: seed of all draws.
        crops: crops of each image.
    """

    def __init__(
        self, store: ImageStore, size: int, transform: Transform, masks: Sequence[MaskSource], seed: int, crops: int = 1
    ) -> None:
        self.store = store
        self.size = size
        self.transform = transform
        self.masks = tuple(masks)
        self.seed = seed
        self.crops = crops

    def __len__(self) -> int:
        return len(self.store) * self.crops * len(self.masks)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`. Its name is the file's, then `@` crop and `#` mask source where there are several."""
        crop_number, source = divmod(index, len(self.masks))
        crop, image_index = divmod(crop_number, len(self.store))
        transform_key, mask_key = (self.seed, RngStream.EVAL_TRANSFORM, crop_number), (self.seed, RngStream.EVAL_MASK, index)
        sample = _make_sample(self.store, image_index, self.size, self.transform, self.masks[source], transform_key, mask_key)
        sample["name"] = self._sample_name(sample["name"], crop, source)
        return sample

    def names(self) -> Iterator[str]:
        """Yield the name of each sample without reading images (unreadable ones, which are replaced, keep their own names)."""
        for index in range(len(self)):
            crop_number, source = divmod(index, len(self.masks))
            crop, image_index = divmod(crop_number, len(self.store))
            yield self._sample_name(self.store.source.name(image_index), crop, source)

    @cached_property
    def sizes(self) -> Sequence[tuple[int, int] | None]:
        """(H, W) of each image after the transform, from the files' headers; None where a header cannot be read.

        Raises:
            UserError: the transform does not accept an image; the message names it.
        """
        if self.transform.square:
            return [(self.size, self.size)] * len(self.store)

        def output_size(index: int) -> tuple[int, int] | None:
            try:
                image_size = self.store.source.shape(index)
            except UnreadableImageError:
                return None
            try:
                return self.transform.output_shape(image_size, self.size)
            except UserError as error:
                raise UserError(f"{self.store.source.location(index)}: {error}") from None

        with ThreadPoolExecutor(min(8, available_cores())) as threads:
            return list(threads.map(output_size, range(len(self.store))))

    def min_side(self) -> tuple[int, str]:
        """Return the shortest side of all samples, in pixels, and the location of its image."""
        known = [(min(size), index) for index, size in enumerate(self.sizes) if size is not None]
        side, index = min(known, default=(self.size, 0))
        return side, self.store.source.location(index)

    def _sample_name(self, name: str, crop: int, source: int) -> str:
        name += f" @{crop}" if self.crops > 1 else ""
        return name + (f" #{source}" if len(self.masks) > 1 else "")


def _make_sample(
    store: ImageStore,
    index: int,
    size: int,
    transform: Transform,
    source: MaskSource,
    transform_key: RngKey,
    mask_key: RngKey,
) -> Sample:
    """Transform image `index` with the draws of `transform_key` and draw its mask from `source` with those of `mask_key`."""
    transform_rng, mask_rng = generator(*transform_key), generator(*mask_key)
    original, index_read = store.read(index)
    image = transform(original, size, transform_rng)
    if isinstance(source, PerImageMasks):  # the mask covers pixels of the file, so it gets the same transform
        hole = source.mask_of(store.source.key(index_read), (original.shape[1], original.shape[2]))
        mask = (transform(hole.mul(255).expand(3, -1, -1), size, generator(*transform_key))[:1] > 127).to(torch.uint8)
    else:
        height, width = image.shape[1:]
        mask = torch.from_numpy(source.sample_uint8((height, width), mask_rng)[None])
    return {"image": image, "mask": mask, "name": store.source.name(index_read)}


def collate(samples: Sequence[Sample]) -> Batch:
    """Collate samples into a uint8 batch in channels-last layout; `lit_inpaint.types.as_floats` converts it to floats."""
    height, width = samples[0]["image"].shape[1:]
    image = torch.empty((len(samples), height, width, 3), dtype=samples[0]["image"].dtype)
    mask = torch.empty((len(samples), height, width), dtype=samples[0]["mask"].dtype)
    stack_into(samples, image, mask)
    return {"image": image.permute(0, 3, 1, 2), "mask": mask[:, None], "name": [sample["name"] for sample in samples]}


def stack_into(samples: Sequence[Sample], image: Tensor, mask: Tensor) -> None:
    """Write samples into `image` (B, H, W, 3) and `mask` (B, H, W), the memory layout in which images are decoded."""
    torch.stack([sample["image"].permute(1, 2, 0) for sample in samples], out=image)
    torch.stack([sample["mask"][0] for sample in samples], out=mask)
