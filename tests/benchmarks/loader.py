"""Measure how many training samples per second one core loads from 256x256 JPEGs, and the time of each part.

    OMP_NUM_THREADS=1 python tests/benchmarks/loader.py --images DIR [--count 256] [--rounds 5] [--quality 75] [--masks Center]

Writes the first images of DIR as JPEGs of 256x256 pixels into a temporary folder and measures each part from the file to the
batch. The parts run interleaved, so that other load on the machine affects all of them alike. Prints medians over the rounds,
in samples per second of one thread; "of decoding" is the ratio to decoding alone in the same run. The last lines measure
whole loaders, in the main process and with one and two loader processes.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from lit_inpaint import masks
from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
from lit_inpaint.data import Folder, RandomResizedCrop, ResizedCenterCrop, read_image
from lit_inpaint.data.inpainting_dataset import collate
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.rng import RngStream, generator
from lit_inpaint.storage.image_decode import decode_image
from lit_inpaint.types import as_floats

SIZE, BATCH = 256, 16


@contextmanager
def jpegs(source: Path, count: int, quality: int) -> Iterator[Path]:
    """Make a temporary folder with `count` JPEGs of 256x256 pixels."""
    files = list(list_images(source))[:count]
    if len(files) < count:
        raise SystemExit(f"{source} holds {len(files)} images, {count} are needed")
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            square = ResizedCenterCrop()(read_image(file), SIZE, torch.Generator())
            Image.fromarray(square.permute(1, 2, 0).numpy()).save(Path(folder, f"{number:05d}.jpg"), quality=quality)
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quality", type=int, default=75, help="75: 13.6 kB each, as in small Places365 (501 MB of 36,500)")
    parser.add_argument(
        "--masks", nargs="+", default=["default", "FreeForm", "Center"], help="default: the default of `data.masks`"
    )
    options = parser.parse_args()
    silence_warnings()
    tune_malloc()  # as `fit` does
    torch.set_num_threads(1)
    with jpegs(options.images, options.count, options.quality) as folder:
        run(folder, options.count, options.rounds, options.masks)


def run(folder: Path, count: int, rounds: int, names: list[str]) -> None:
    files = list(list_images(folder))
    contents = [file.read_bytes() for file in files]
    images = [decode_image(content, "") for content in contents]
    sources = {name: None if name == "default" else getattr(masks, name)() for name in names}
    flip = RandomResizedCrop(scale=(1.0, 1.0))
    data = {n: Folder(str(folder), SIZE, BATCH, masks=source, train_transform=flip, workers=0) for n, source in sources.items()}
    for module in data.values():
        module.setup("fit")

    def samples(name: str) -> None:
        dataset = data[name]._train_dataset
        assert dataset is not None
        for number in range(count):
            dataset[number % len(dataset), number]

    parts: dict[str, Callable[[], object]] = {
        "decode, bytes in memory": lambda: [decode_image(content, "") for content in contents],
        "the same with Pillow": lambda: [Image.open(file).convert("RGB") for file in files],
        "read and decode": lambda: [read_image(file) for file in files],
        "transform: flip, no resize": lambda: [
            flip(p, SIZE, generator(0, RngStream.TRAIN_TRANSFORM, i)) for i, p in enumerate(images)
        ],
    }
    for name, module in data.items():
        source = module.masks[0]
        parts[f"mask: {name}"] = lambda source=source: [
            source.sample_uint8((SIZE, SIZE), generator(0, RngStream.TRAIN_MASK, i)) for i in range(count)
        ]
    for name in data:
        parts[f"whole sample, {name}"] = lambda name=name: samples(name)
    first = next(iter(data.values()))._train_dataset
    assert first is not None
    stacked = [first[i % len(first), i] for i in range(BATCH)]
    parts["stack bytes"] = lambda: [collate(stacked) for _ in range(count // BATCH)]
    parts["stack bytes, convert to float"] = lambda: [as_floats(collate(stacked)) for _ in range(count // BATCH)]
    speeds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            speeds[name].append(count / (time.perf_counter() - start))
    decoding = statistics.median(speeds["decode, bytes in memory"])
    print(f"{count} JPEGs of {SIZE}x{SIZE}, {sum(map(len, contents)) // count:,} bytes each; {rounds} rounds, one thread")
    for name, values in speeds.items():
        print(f"{name:30} {statistics.median(values):8,.0f} /s   {statistics.median(values) / decoding:.2f} of decoding")
    for name, source in sources.items():
        for workers in (0, 1, 2):
            module = Folder(str(folder), SIZE, BATCH, masks=source, train_transform=flip, workers=workers)
            module.trainer = FakeTrainer()  # with a trainer, batches stay bytes up to the device
            module.setup("fit")
            batches = iter(module.train_dataloader())
            next(batches)
            start = time.perf_counter()
            number = sum(len(batch["name"]) for batch in islice(batches, rounds * count // BATCH))
            print(f"loader, {name}, {workers} processes: {number / (time.perf_counter() - start):8,.0f} /s")


class FakeTrainer:
    """The attributes of a trainer that the data module reads."""

    global_step = 0
    global_rank = 0
    world_size = 1
    num_devices = 1
    lightning_module = None


if __name__ == "__main__":
    main()
