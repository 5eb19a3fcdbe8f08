"""What a data set of very many files costs before the first batch, in time and memory.

    python tests/benchmarks/many_files.py [--files 1000000] [--folder DIR]

Makes a tree of that many JPEGs, 365 folders as in Places2, all of them one file under many names (hard links), and sets a
data set of it up three times, each in a process of its own: the first reads the folders, the others find the list in the
cache. Seconds from building the data set to its first batch; memory is what the process needs more than before it looked at
the folder, at its highest.
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
LINKS = 30_000  # a file may have some 65,000 names
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
        place = folder / f"scene_{number % FOLDERS:03d}"
        if number < FOLDERS:
            place.mkdir()
        if number % LINKS == LINKS - 1:
            first = place / f"{number:08d}.jpg"
            Image.fromarray(pixels).save(first)
        else:
            os.link(first, place / f"{number:08d}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the tree is made, and removed from; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        photos = Path(place, "photos")
        photos.mkdir()
        make(photos, options.files)
        time.sleep(3)  # a list is kept once its folders have not changed for two seconds
        environment = {**os.environ, "LIT_INPAINT_CACHE": str(Path(place, "cache"))}
        for turn in ("first time", "again", "once more"):
            done = subprocess.run([sys.executable, "-c", SCRIPT, str(photos)], env=environment, capture_output=True, text=True)
            print(
                f"{options.files:,} files, {turn:10}: {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}", flush=True
            )


if __name__ == "__main__":
    main()
