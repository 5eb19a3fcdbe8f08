"""Inpaint many image files: skip broken ones, and go on after an interruption.

Each result is a PNG that is written atomically and holds a digest of all that it was made from: the bytes of the image, the
mask and the edge map, the weights, and the options. A result with the digest of the request is complete, and is kept. Any other
file of its name is replaced.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BufferedReader
from pathlib import Path

import torch
from tqdm import tqdm

from lit_inpaint import __version__
from lit_inpaint.data.pair_inpaint_inputs import InpaintInput, read_input
from lit_inpaint.engine.inpainter import Inpainter
from lit_inpaint.errors import UserError
from lit_inpaint.inpainting.inpaint_image import fill_array
from lit_inpaint.inpainting.strategies import Filler
from lit_inpaint.masks.read_mask import read_single_mask
from lit_inpaint.storage.image_decode import MAX_FILE_BYTES
from lit_inpaint.storage.image_files import read_png_text, write_image_file
from lit_inpaint.storage.regular_file import open_regular_file
from lit_inpaint.visualization.progress_bar import progress_bar

DIGEST = "lit_inpaint"
"""Key of the digest among the texts of a result."""


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        ratios: mask ratios of the images inpainted now.
        kept: number of results of an earlier call.
        skipped: what is wrong with each of the others.
    """

    ratios: list[float] = field(default_factory=list)
    kept: int = 0
    skipped: list[str] = field(default_factory=list)

    def describe(self, method: str, output: Path) -> str:
        """Describe them in one line."""
        count = len(self.ratios)
        mean = f", mean mask ratio {sum(self.ratios) / count:.1%}" if count else ""
        kept = f", {self.kept} already there" if self.kept else ""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{count} image{'s' * (count != 1)} inpainted by {method}{mean}{kept}{skipped}, in {output}"


def inpaint_files(filler: Filler, pairs: Sequence[InpaintInput], white_is_hole: bool, max_hole: float) -> Summary:
    """Inpaint each image and write the result.

    Args:
        filler: method and strategy.
        pairs: result of `pair_inputs`. If there are several, each one that cannot be read or filled is named on stderr.
        white_is_hole: whether white or black marks holes in the mask files.
        max_hole: maximum mask ratio, in (0, 1].

    Raises:
        UserError: no image can be inpainted, or a result cannot be written.
    """
    # One mask, and one edge map, for all images are read once; another call may find other contents.
    summary, digest_file, read_mask = Summary(), lru_cache(maxsize=2)(_digest_file), lru_cache(maxsize=2)(read_single_mask)
    options = _digest_options(filler, white_is_hole)
    for pair in progress_bar(pairs, description="inpainting", unit="image", delay=0, disable=len(pairs) == 1):
        try:
            parts = [digest_file(path) for path in (pair.image, pair.mask, pair.edges) if path is not None]
            digest = hashlib.sha256("/".join([options, *parts]).encode()).hexdigest()
            if read_png_text(pair.output, DIGEST) == digest:
                summary.kept += 1
                continue
            image, hole, edges = read_input(pair, white_is_hole, max_hole, read_mask)
            with _memory_errors(filler, pair, image.shape):
                fill_array(filler, image.pixels, hole, edges)
        except UserError as error:
            if len(pairs) == 1:
                raise
            summary.skipped.append(str(error))
            tqdm.write(f"skipped: {error}", file=sys.stderr)
            continue
        write_image_file(image, pair.output, {DIGEST: digest})
        summary.ratios.append(float(hole.mean()))
    if len(summary.skipped) == len(pairs):
        raise UserError(f"none of the {len(pairs)} images could be inpainted; the first: {summary.skipped[0]}")
    return summary


@contextmanager
def _memory_errors(filler: Filler, pair: InpaintInput, shape: tuple[int, int]) -> Iterator[None]:
    """Turn errors of an allocation into a `UserError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in str(error):
            raise
        remedy = "--strategy crop" if filler.strategy == "whole" else "a smaller image"
        raise UserError(
            f"not enough memory on {filler.device} to inpaint {pair.image}, {shape[1]}x{shape[0]} pixels; use {remedy}"
        ) from None


def _digest_file(path: Path) -> str:
    try:
        with BufferedReader(open_regular_file(path, MAX_FILE_BYTES)) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error


def _digest_options(filler: Filler, white_is_hole: bool) -> str:
    """Return a digest of the method, its weights, and all options that change the pixels."""
    digest = hashlib.sha256()
    settings = [__version__, filler.strategy, filler.size, filler.coarse_to_fine, filler.blending, white_is_hole]
    if isinstance(filler.method, Inpainter):
        settings += [
            type(filler.method).__qualname__,
            sorted((name, repr(value)) for name, value in filler.method.hparams.items()),
        ]
        for name, value in filler.method.generator.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    else:
        settings.append(filler.method.label)
    digest.update(repr(settings).encode())
    return digest.hexdigest()
