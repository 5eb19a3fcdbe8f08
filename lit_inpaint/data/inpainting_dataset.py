"""Datasets: an image, its transform and its mask, all determined by the sample's number."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NotRequired, TypedDict, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.data.samplers import MixKey, TrainKey
from lit_inpaint.data.transforms import Transform
from lit_inpaint.data.unreadable_images import ImageStore
from lit_inpaint.data.workers import available_cores
from lit_inpaint.edges import CannyEdges
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource, PerImageMasks
from lit_inpaint.storage.image_decode import UnreadableImageError
from lit_inpaint.types import Batch

RngKey = tuple[int, int, int]
"""Arguments of `rng.generator`: seed, stream, number."""


class Sample(TypedDict):
    """One sample before collation: `image` (3, H, W) uint8, `mask` (1, H, W) uint8, 0 or 1 (1 = hole), and `name`.

    `edges` (1, H, W) uint8, 0 or 1 (1 = edge), are in training samples if the dataset has an edge detector. H and W are the
    same for all samples, unless the transform keeps the images' own sizes.
    """

    image: Tensor
    mask: Tensor
    name: str
    edges: NotRequired[Tensor]


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

    Attributes:
        edge_detector: computes the edges of the transformed images, which the samples then contain; None: no edges.
    """

    def __init__(self, store: ImageStore, size: int, transform: Transform, masks: Sequence[MaskSource], seed: int) -> None:
        self.store = store
        self.size = size
        self.transform = transform
        self.masks = tuple(masks)
        self.seed = seed
        self.edge_detector: CannyEdges | None = None

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: TrainKey | int) -> Sample:
        """Return the sample of `key`, named after its file."""
        index, position = (key, key) if isinstance(key, int) else key
        visit, source = divmod(position, len(self.masks))
        transform_key, mask_key = (self.seed, RngStream.TRAIN_TRANSFORM, visit), (self.seed, RngStream.TRAIN_MASK, position)
        image, index_read = self.store.read_or_next(index)
        sample = _make_sample(
            self.store, index_read, image, self.size, self.transform, self.masks[source], transform_key, mask_key
        )
        if self.edge_detector is not None:
            sample["edges"] = self.edge_detector(sample["image"][None])[0].to(torch.uint8)
        return sample


class MixDataset(Dataset[list[Sample]]):
    """Training batches by (part, keys of its samples); see `MixSampler`. A plain index stands for that of the first part.

    Args:
        parts: the training samples of each part.
    """

    def __init__(self, parts: Sequence[TrainDataset]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, key: MixKey | int) -> list[Sample]:
        """Return the samples of one batch."""
        part, keys = (0, [key]) if isinstance(key, int) else key
        return [self.parts[part][each] for each in keys]


class EvalDataset(Dataset[Sample | None]):
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

    Attributes:
        left_out: (N,) bool, for each sample whether its image could not be read when it was last requested. Loader processes
            share it.
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
        self.left_out = cast(Any, torch.zeros(len(self), dtype=torch.bool)).share_memory_()

    def __len__(self) -> int:
        return len(self.store) * self.crops * len(self.masks)

    def __getitem__(self, index: int) -> Sample | None:
        """Return sample `index`. Its name is the file's, then `@` crop and `#` mask source where there are several.

        Returns:
            None where the image cannot be read; collation leaves the sample out. Another image in its place would count twice.

        Raises:
            UnreadableImageError: the image cannot be read and `on_bad_file` is `stop`.
        """
        crop, image_index, source = self._parts(index)
        try:
            image = self.store.read(image_index)
        except UnreadableImageError as error:
            if self.store.on_bad_file == "stop":
                raise
            # One process alone evaluates the first sample of an image, so the file is named once.
            if not self.left_out[index] and crop == source == 0:
                warnings.warn(f"{error}; the evaluation leaves it out", stacklevel=2)
            self.left_out[index] = True
            return None
        self.left_out[index] = False
        transform_key = (self.seed, RngStream.EVAL_TRANSFORM, index // len(self.masks))
        mask_key = (self.seed, RngStream.EVAL_MASK, index)
        sample = _make_sample(
            self.store, image_index, image, self.size, self.transform, self.masks[source], transform_key, mask_key
        )
        sample["name"] = self._sample_name(sample["name"], crop, source)
        return sample

    def names(self) -> Iterator[str]:
        """Yield the name of each sample without reading images, also of samples whose image cannot be read."""
        for index in range(len(self)):
            crop, image_index, source = self._parts(index)
            yield self._sample_name(self.store.source.name(image_index), crop, source)

    def keys(self) -> Iterator[str]:
        """Yield the name of each sample with the image's path below the data set's folder; see `ImageSource.key`."""
        for index in range(len(self)):
            crop, image_index, source = self._parts(index)
            yield self._sample_name(self.store.source.key(image_index), crop, source)

    def shape(self, index: int) -> tuple[int, int] | None:
        """Return (H, W) of sample `index`, None where the image's header cannot be read."""
        return self.sizes[self._parts(index)[1]]

    def evaluated(self) -> list[int]:
        """Return the numbers of the samples that are not `left_out`."""
        return torch.nonzero(~self.left_out).flatten().tolist()

    def readable(self) -> list[int]:
        """Return the indices of the images of which a sample is not `left_out`, in order."""
        return sorted({self._parts(number)[1] for number in self.evaluated()})

    def unreadable(self) -> list[int]:
        """Return the indices of the images of which a sample is `left_out`, in order."""
        return sorted({self._parts(number)[1] for number in torch.nonzero(self.left_out).flatten().tolist()})

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

    def _parts(self, index: int) -> tuple[int, int, int]:
        """Return the number of the crop, of the image and of the mask source of sample `index`."""
        crop_number, source = divmod(index, len(self.masks))
        crop, image_index = divmod(crop_number, len(self.store))
        return crop, image_index, source

    def _sample_name(self, name: str, crop: int, source: int) -> str:
        name += f" @{crop}" if self.crops > 1 else ""
        return name + (f" #{source}" if len(self.masks) > 1 else "")


def _make_sample(
    store: ImageStore,
    index: int,
    image: Tensor,
    size: int,
    transform: Transform,
    source: MaskSource,
    transform_key: RngKey,
    mask_key: RngKey,
) -> Sample:
    """Transform `image`, that of `index`, with the draws of `transform_key`, and draw its mask with those of `mask_key`."""
    transform_rng, mask_rng = generator(*transform_key), generator(*mask_key)
    size_of_file = (image.shape[1], image.shape[2])
    image = transform(image, size, transform_rng)
    if isinstance(source, PerImageMasks):  # the mask covers pixels of the file, so it gets the same transform
        hole = source.mask_of(store.source.key(index), size_of_file)
        mask = (transform(hole.mul(255).expand(3, -1, -1), size, generator(*transform_key))[:1] > 127).to(torch.uint8)
    else:
        height, width = image.shape[1:]
        mask = torch.from_numpy(source.sample_uint8((height, width), mask_rng)[None])
    return {"image": image, "mask": mask, "name": store.source.name(index)}


def collate(samples: Sequence[Sample | None]) -> Batch | None:
    """Collate samples into a uint8 batch in channels-last layout; `lit_inpaint.types.as_floats` converts it to floats.

    Returns:
        The batch without the samples that are None; None where all are.
    """
    readable = [sample for sample in samples if sample is not None]
    if not readable:
        return None
    height, width = readable[0]["image"].shape[1:]
    image = torch.empty((len(readable), height, width, 3), dtype=readable[0]["image"].dtype)
    mask = torch.empty((len(readable), height, width), dtype=readable[0]["mask"].dtype)
    edges = torch.empty_like(mask) if "edges" in readable[0] else None
    stack_into(readable, image, mask, edges)
    return make_batch(image, mask, edges, [sample["name"] for sample in readable])


def stack_into(samples: Sequence[Sample], image: Tensor, mask: Tensor, edges: Tensor | None) -> None:
    """Write samples into `image` (B, H, W, 3), `mask` and `edges` (B, H, W), the memory layout in which images are decoded."""
    torch.stack([sample["image"].permute(1, 2, 0) for sample in samples], out=image)
    torch.stack([sample["mask"][0] for sample in samples], out=mask)
    if edges is not None:
        torch.stack([sample["edges"][0] for sample in samples], out=edges)


def make_batch(image: Tensor, mask: Tensor, edges: Tensor | None, names: list[str]) -> Batch:
    """Return the uint8 batch of tensors that `stack_into` wrote."""
    batch: Batch = {"image": image.permute(0, 3, 1, 2), "mask": mask[:, None], "name": names}
    if edges is not None:
        batch["edges"] = edges[:, None]
    return batch
