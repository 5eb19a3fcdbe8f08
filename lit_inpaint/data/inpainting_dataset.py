"""The datasets: a picture, a view of it and a mask, all three functions of the sample's number."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_inpaint.data.image_decode import UnreadableImageError
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.data.samplers import Key
from lit_inpaint.data.transforms.crops import Transform
from lit_inpaint.data.unreadable_images import ImageStore
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskSource, PerImageMasks
from lit_inpaint.types import Batch

Key3 = tuple[int, int, int]
"""What a generator is made from: seed, stream, number."""


class Sample(TypedDict):
    """One sample before batching: `image` (3, H, W) uint8, `mask` (1, H, W) uint8, 0 or 1 (1 = hole), `name`.

    H and W are one side S for all, unless the view shows pictures in their own sizes.
    """

    image: Tensor
    mask: Tensor
    name: str


class TrainDataset(Dataset[Sample]):
    """Training samples, addressed by (image index, position in the stream); see `InfiniteSampler`.

    View and mask are drawn from (seed, position), so a picture that comes again looks different and has another hole. Of M mask
    sources, position j takes number j % M; the M samples of a turn j // M have the same view. A plain index i, which
    Lightning asks for under `overfit_batches`, stands for (i, i): always the same view and hole.

    Args:
        store: the pictures.
        size: side of the samples in pixels.
        view: what is cut out of a picture.
        masks: the M sources of the holes, taken in turn.
        seed: of all draws.
    """

    def __init__(self, store: ImageStore, size: int, view: Transform, masks: Sequence[MaskSource], seed: int) -> None:
        self.store = store
        self.size = size
        self.view = view
        self.masks = tuple(masks)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, key: Key | int) -> Sample:
        """The sample of `key`: `image` and `mask` at `size`, named after the file."""
        index, j = (key, key) if isinstance(key, int) else key
        turn, source = divmod(j, len(self.masks))
        of_view, of_mask = (self.seed, RngStream.TRAIN_TRANSFORM, turn), (self.seed, RngStream.TRAIN_MASK, j)
        return _look(self.store, index, self.size, self.view, self.masks[source], of_view, of_mask)


class EvalDataset(Dataset[Sample]):
    """Evaluation samples: every view of every picture under every mask source.

    With M sources, sample i is view i // M under source i % M. Views go round the pictures: all pictures once, then all of
    them again in another view, `crops` times. The view is drawn from (seed, i // M) and the mask from (seed, i): the same on
    every rank, worker, epoch and machine.

    Args:
        store: the pictures.
        size: side of the samples in pixels; without meaning for a view that shows pictures in their own sizes.
        view: what is cut out of a picture; may be random, as its draws depend on the sample's number alone.
        masks: the M sources, such as one for each range of damage.
        seed: of all draws.
        crops: views of each picture.
    """

    def __init__(
        self, store: ImageStore, size: int, view: Transform, masks: Sequence[MaskSource], seed: int, crops: int = 1
    ) -> None:
        self.store = store
        self.size = size
        self.view = view
        self.masks = tuple(masks)
        self.seed = seed
        self.crops = crops

    def __len__(self) -> int:
        return len(self.store) * self.crops * len(self.masks)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`; its name is the file's, then `@` the crop and `#` the mask source where there are several."""
        look, source = divmod(index, len(self.masks))
        crop, place = divmod(look, len(self.store))
        of_view, of_mask = (self.seed, RngStream.EVAL_TRANSFORM, look), (self.seed, RngStream.EVAL_MASK, index)
        sample = _look(self.store, place, self.size, self.view, self.masks[source], of_view, of_mask)
        sample["name"] = self._called(sample["name"], crop, source)
        return sample

    def names(self) -> Iterator[str]:
        """The name of each sample, without reading a picture (whose place another may have to take)."""
        for index in range(len(self)):
            look, source = divmod(index, len(self.masks))
            crop, place = divmod(look, len(self.store))
            yield self._called(self.store.source.name(place), crop, source)

    @cached_property
    def sizes(self) -> Sequence[tuple[int, int] | None]:
        """(H, W) at which each picture is shown, from the files' headers; None where a header cannot be read.

        Raises:
            UserError: the view cannot show one of them; names it.
        """
        if self.view.square:
            return [(self.size, self.size)] * len(self.store)

        def shown(place: int) -> tuple[int, int] | None:
            try:
                picture = self.store.source.shape(place)
            except UnreadableImageError:
                return None
            try:
                return self.view.shape(picture, self.size)
            except UserError as error:
                raise UserError(f"{self.store.source.location(place)}: {error}") from None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            return list(threads.map(shown, range(len(self.store))))

    def min_side(self) -> tuple[int, str]:
        """The shortest side of what is shown, in pixels, and of which picture it is."""
        known = [(min(size), place) for place, size in enumerate(self.sizes) if size is not None]
        side, place = min(known, default=(self.size, 0))
        return side, self.store.source.location(place)

    def _called(self, name: str, crop: int, source: int) -> str:
        name += f" @{crop}" if self.crops > 1 else ""
        return name + (f" #{source}" if len(self.masks) > 1 else "")


def _look(
    store: ImageStore, index: int, size: int, view: Transform, source: MaskSource, of_view: Key3, of_mask: Key3
) -> Sample:
    """The sample in which a picture is seen by `view`, drawn from `of_view`, with a hole of `source`, drawn from `of_mask`."""
    for_view, for_mask = generator(*of_view), generator(*of_mask)
    picture, place = store.take(index)
    image = view(picture, size, for_view)
    if isinstance(source, PerImageMasks):  # a mask of the picture's own pixels, so it has to be seen as the picture is
        hole = source.mask_of(store.source.key(place), (picture.shape[1], picture.shape[2]))
        mask = (view(hole.mul(255).expand(3, -1, -1), size, generator(*of_view))[:1] > 127).to(torch.uint8)
    else:
        height, width = image.shape[1:]
        mask = torch.from_numpy(source.sample_uint8((height, width), for_mask)[None])
    return {"image": image, "mask": mask, "name": store.source.name(place)}


def collate(samples: Sequence[Sample]) -> Batch:
    """A batch of bytes; `lit_inpaint.types.as_floats` makes it keep the contract. A pixel's three channels lie side by side."""
    height, width = samples[0]["image"].shape[1:]
    image = torch.empty((len(samples), height, width, 3), dtype=samples[0]["image"].dtype)
    mask = torch.empty((len(samples), height, width), dtype=samples[0]["mask"].dtype)
    stack(samples, image, mask)
    return {"image": image.permute(0, 3, 1, 2), "mask": mask[:, None], "name": [sample["name"] for sample in samples]}


def stack(samples: Sequence[Sample], image: Tensor, mask: Tensor) -> None:
    """Write samples into `image`, (B, H, W, 3), and `mask`, (B, H, W): the order in which decoders leave pixels."""
    torch.stack([sample["image"].permute(1, 2, 0) for sample in samples], out=image)
    torch.stack([sample["mask"][0] for sample in samples], out=mask)
