"""Score images that another program completed: one file for each evaluated sample, matched by name."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from lit_inpaint.data.inpainting_dataset import EvalDataset
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.workers import available_cores
from lit_inpaint.errors import UserError, one_line
from lit_inpaint.storage.image_decode import UnreadableImageError, read_image, read_shape, require_one_frame_in_file
from lit_inpaint.storage.user_path import user_path

_MAX_NAMED = 3
_MAX_KNOWN_DIFFERENCE = 20  # of 255; strong JPEG compression changes known pixels by less than 10


class ExternalResults:
    """Completed images in a folder. Known pixels do not count: every method is scored on its composite.

    The file of a sample has the sample's name (as in the list of samples), with any suffix for images, below the folder: of the
    image `a/x.jpg` it is `a/x.png`. The last part of the name is enough where it is unique among the files and the samples.
    Where an image comes under several masks, names end as in the list of samples: `x #0.png`, `x #1.png`.

    Args:
        name: of the method, in tables.
        folder: searched at any depth.
        samples: the samples that will be evaluated.

    Attributes:
        name: of the method.
        folder: of its files.
        identity: hash of the matched files' paths, sizes and modification times.

    Raises:
        UserError: the folder holds no image, a sample has no file or several, or a file has another size than its sample,
            several frames, or cannot be read. Files that belong to no sample are counted on standard error.
    """

    def __init__(self, name: str, folder: Path, samples: EvalDataset) -> None:
        self.name, self.folder = name, folder
        files = list(list_images(folder)) if folder.is_dir() else []
        if not files:
            state = "holds no image" if folder.is_dir() else "is not a folder"
            raise UserError(f"--results {name}: {folder} {state}; name the folder of the completed images")
        self._known_differences, self._hole_differences = list[float](), list[float]()
        self._files = self._match(files, samples)
        self._check_sizes(samples)
        if extra := [path for path in files if path not in set(self._files.values())]:
            listed = _abbreviate([str(path.relative_to(folder)) for path in extra])
            counted = f"{_count(len(extra), 'file')} in {folder} belong to no sample and are not scored"
            print(one_line(f"warning: --results {name}: {counted}: {listed}"), file=sys.stderr)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def identity(self) -> str:
        """See the class."""
        digest = hashlib.sha256(self.name.encode())
        for path in self._files.values():
            state = path.stat()
            digest.update(os.fsencode(f"\0{path.absolute()}\0{state.st_size}\0{state.st_mtime_ns}"))
        return digest.hexdigest()

    def complete(self, names: Sequence[str], image: Tensor, mask: Tensor) -> Tensor:
        """Read the results of a batch.

        Args:
            names: of the samples.
            image: (B, 3, H, W) in [0, 1], the targets.
            mask: (B, 1, H, W), 1 = hole.

        Returns:
            (B, 3, H, W) multiples of 1/255, on the device of `image`.

        Raises:
            UserError: a file cannot be read, or its size has changed.
        """
        found = []
        for name in names:
            try:
                result = read_image(self._files[name])
            except UnreadableImageError as error:
                raise UserError(f"--results {self.name}: {error}") from None
            if result.shape[1:] != image.shape[2:]:
                raise self._size_error([(self._files[name], tuple(result.shape[1:]), tuple(image.shape[2:]))])
            found.append(result)
        completed = torch.stack(found).to(image) / 255
        self._known_differences += _mean_difference(completed, image, 1 - mask)
        self._hole_differences += _mean_difference(completed, image, mask)
        return completed

    def notes(self) -> list[str]:
        """Lines on results that are probably of other images, crops or masks than the evaluated ones."""
        lines = []
        differences = [difference for difference in self._known_differences if not math.isnan(difference)]
        if differences and (mean := 255 * sum(differences) / len(differences)) > _MAX_KNOWN_DIFFERENCE:
            lines.append(
                f"{self.name}: known pixels differ from the images by {mean:.1f} of 255 gray levels on average; these may be "
                "results of another crop, size or order of the images"
            )
        if self._hole_differences and max(self._hole_differences, key=lambda one: (math.isnan(one), one)) == 0:
            lines.append(
                f"{self.name}: all {_count(len(self._hole_differences), 'result')} equal the images inside the holes; "
                "the folder may hold the originals, or the masks mark the known pixels (white_is_hole)"
            )
        return lines

    def _match(self, files: Sequence[Path], samples: EvalDataset) -> dict[str, Path]:
        """The file of each sample, by the sample's name."""
        by_path, by_stem = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
        for path in files:
            key = path.relative_to(self.folder).with_suffix("").as_posix()
            by_path[key].append(path)
            by_stem[key.rpartition("/")[2]].append(path)
        names = list(samples.names())
        num_of_stem = defaultdict[str, int](int)
        for name in names:
            num_of_stem[name.rpartition("/")[2]] += 1
        matched, missing = dict[str, Path](), list[str]()
        for name, key in zip(names, samples.keys(), strict=True):
            stem = name.rpartition("/")[2]
            candidates = by_path.get(name) or by_path.get(key) or (by_stem.get(stem, []) if num_of_stem[stem] == 1 else [])
            if len(candidates) > 1:
                listed = _abbreviate([str(path.relative_to(self.folder)) for path in candidates])
                raise UserError(f"--results {self.name}: several files in {self.folder} may be {name}: {listed}; keep one")
            if candidates:
                matched[name] = candidates[0]
            else:
                missing.append(name)
        if missing:
            raise UserError(
                f"--results {self.name}: {len(missing):,} of {_count(len(names), 'sample')} have no file in {self.folder}: "
                f"{_abbreviate(missing)}; a file has the name of its sample, such as {missing[0]}.png"
            )
        return matched

    def _check_sizes(self, samples: EvalDataset) -> None:
        """Compare the sizes in the files' headers with the samples'."""

        def check(item: tuple[int, str]) -> tuple[Path, tuple[int, int], tuple[int, int]] | UserError | None:
            number, name = item
            path, expected = self._files[name], samples.shape(number)
            try:
                found = read_shape(path)
                require_one_frame_in_file(path)
            except UserError as error:
                return error
            return None if expected is None or found == expected else (path, found, expected)

        with ThreadPoolExecutor(min(8, available_cores())) as threads:
            problems = [problem for problem in threads.map(check, enumerate(samples.names())) if problem is not None]
        unreadable = [str(problem) for problem in problems if isinstance(problem, UserError)]
        if unreadable:
            more = f", and {len(unreadable) - 1:,} more files" if len(unreadable) > 1 else ""
            raise UserError(f"--results {self.name}: {unreadable[0]}{more}")
        if wrong := [problem for problem in problems if not isinstance(problem, UserError)]:
            raise self._size_error(wrong)

    def _size_error(self, wrong: Sequence[tuple[Path, tuple[int, ...], tuple[int, ...]]]) -> UserError:
        path, (height, width), (expected_height, expected_width) = wrong[0]
        more = f", and {len(wrong) - 1:,} more differ" if len(wrong) > 1 else ""
        return UserError(
            f"--results {self.name}: {path} is {width}x{height} pixels (width x height), its sample "
            f"{expected_width}x{expected_height}{more}; evaluate in that size: --data.size {min(width, height)}, or "
            "--data.val_transform lit_inpaint.data.NativeSize for the images' own sizes"
        )


def parse_results(texts: Sequence[str]) -> dict[str, Path]:
    """Parse the values of `--results`, each NAME=DIR.

    Raises:
        UserError: another form, or a name stands twice.
    """
    parsed: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (equals and name.strip() and folder):
            raise UserError(f"--results {text}: expected NAME=DIR, such as MI-GAN=completed/")
        if name in parsed:
            raise UserError(f"--results names {name} twice")
        parsed[name] = user_path(folder)
    return parsed


def open_results(folders: Mapping[str, Path], samples: EvalDataset, taken: Collection[str]) -> dict[str, ExternalResults]:
    """Open the results of `parse_results`.

    Args:
        folders: by name.
        samples: the samples that will be evaluated.
        taken: names of the other methods.

    Raises:
        UserError: a name is taken; or as `ExternalResults`.
    """
    if taken_names := [name for name in folders if name in taken]:
        raise UserError(f"--results {taken_names[0]}: another method of this table has that name; choose another")
    return {name: ExternalResults(name, folder, samples) for name, folder in folders.items()}


def _mean_difference(completed: Tensor, image: Tensor, region: Tensor) -> list[float]:
    """Mean absolute difference of each image over the pixels of `region`, NaN where there are none."""
    error = ((completed - image).abs() * region).sum(dim=(1, 2, 3))
    return (error / (3 * region.sum(dim=(1, 2, 3)))).tolist()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _abbreviate(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (" …" if len(names) > _MAX_NAMED else "")
