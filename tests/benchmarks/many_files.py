"""Measure time and memory from the start to the first batch of a data set with a million files.

    python tests/benchmarks/many_files.py [--files 1000000] [--folder DIR]

Makes a tree of that many JPEGs in 365 folders, as in Places2; all are hard links to a few files. Sets up a data set on it
three times, each time in a new process: the first lists the folders, the others read the cached list. Prints the seconds from
building the data set to its first batch, and the peak memory that the process needs beyond its memory before listing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = 365
LINKS = 30_000  # file systems allow some 65,000 hard links to one file
SCRIPT = """
import resource, sys, time
from lit_inpaint.data import Folder
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
data = Folder(sys.argv[1], size=64, batch_size=4, workers=0)
data.setup("fit")
listed = time.perf_counter() - start
line = data.describe()
described = time.perf_counter() - start
next(iter(data.train_dataloader()))
whole = time.perf_counter() - start
print(f"set up {listed:5.1f} s, described {described:5.1f} s, first batch {whole:5.1f} s, memory {peak() - before:4.0f} MiB")
"""


def make(folder: Path, count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "one.jpg")
    first = folder / "one.jpg"
    for number in range(count - 1):
        subfolder = folder / f"scene_{number % FOLDERS:03d}"
        if number < FOLDERS:
            subfolder.mkdir()
        if number % LINKS == LINKS - 1:
            first = subfolder / f"{number:08d}.jpg"
            Image.fromarray(pixels).save(first)
        else:
            os.link(first, subfolder / f"{number:08d}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, help="parent folder of the temporary tree; default: the system's temporary folder"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        images = Path(temporary, "images")
        images.mkdir()
        make(images, options.files)
        time.sleep(3)  # a list is cached only if its folders have not changed for two seconds
        environment = {**os.environ, "LIT_INPAINT_CACHE": str(Path(temporary, "cache"))}
        for start in ("first start", "second", "third"):
            done = subprocess.run([sys.executable, "-c", SCRIPT, str(images)], env=environment, capture_output=True, text=True)
            print(
                f"{options.files:,} files, {start:11}: {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
