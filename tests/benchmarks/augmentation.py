"""Compare the loader's flips and crops with kornia's on whole batches, on one thread of a CPU.

    OMP_NUM_THREADS=1 python tests/benchmarks/augmentation.py [--size 256] [--batch 16] [--rounds 5]

The loader's transforms act on one uint8 image each; kornia's act on a batch of floats, as they would on the device. Prints
medians of processor time per image. The time of decoding a JPEG of the same size stands beside them.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import kornia.augmentation as K
import numpy as np
import torch
from PIL import Image

from lit_inpaint.config.entry_point import silence_warnings, tune_malloc
from lit_inpaint.data import RandomResizedCrop
from lit_inpaint.storage.image_decode import decode_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    silence_warnings()
    tune_malloc()  # as `fit` does
    torch.set_num_threads(1)
    size, rng = options.size, torch.Generator().manual_seed(0)
    coarse = torch.rand(options.batch, 3, 16, 16, generator=rng)
    floats = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    images = list((floats * 255).to(torch.uint8))
    jpegs = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0))).save(file, "JPEG", quality=75)
        jpegs.append(file.getvalue())
    flip, crop = RandomResizedCrop(scale=(1.0, 1.0)), RandomResizedCrop(scale=(0.5, 1.0))
    device_flip = K.RandomHorizontalFlip()
    device_crop = torch.nn.Sequential(K.RandomResizedCrop((size, size), scale=(0.5, 1.0)), K.RandomHorizontalFlip())
    parts: dict[str, Callable[[], object]] = {
        "decode a JPEG": lambda: [decode_image(jpeg, "") for jpeg in jpegs],
        "loader: flip": lambda: [flip(image, size, rng) for image in images],
        "kornia: flip": lambda: device_flip(floats),
        "loader: crop, resize and flip": lambda: [crop(image, size, rng) for image in images],
        "kornia: crop, resize and flip": lambda: device_crop(floats),
        "bytes to floats": lambda: torch.stack(images).float().div_(255),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.rounds + 1):  # the first one is not counted
        for name, part in parts.items():
            begin = time.process_time()
            for _ in range(5):
                part()
            times[name].append((time.process_time() - begin) / 5 / options.batch)
    for name, values in times.items():
        print(f"{name:30} {1e6 * statistics.median(values[1:]):7.1f} us an image")


if __name__ == "__main__":
    main()
