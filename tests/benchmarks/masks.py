"""Compare the speed of mask sources with the public code that they follow.

    python tests/benchmarks/masks.py --gin DIR --lama DIR --pepsi DIR --keras DIR --walk DIR [--rounds 7] [--seconds 0.4]

Each DIR is a clone of one of these repositories; the script reads the given commit. Any of them may be left out:

    gin    https://github.com/rlct1/gin                                       cfcef5d  data/masks.py
    lama   https://github.com/advimman/lama                                   786f593  saicinpainting/training/data/masks.py
    pepsi  https://github.com/Forty-lock/PEPSI-Fast_image_inpainting_with_parallel_decoding_network   be4e487  ops.py
    keras  https://github.com/MathiasGruber/PConv-Keras                       7c8f2cb  libs/util.py
    walk   https://github.com/naoto0804/pytorch-inpainting-with-partial-conv  8d64e7e  generate_data.py

Both implementations draw masks of 256x256 (random walks: 512x512) in one process on one thread, interleaved. In each round,
each draws for `--seconds` of processor time, and at least one mask. Prints the median of the rounds' speed ratios, with
minimum and maximum. lit_inpaint returns what a loader takes, uint8 arrays, the public code whatever it returns. DeepGIN's
automaton calls a SciPy function that no longer exists, which enlarged masks by nearest neighbor; Pillow's function, which
SciPy called, replaces it.
"""

import argparse
import random
import statistics
import subprocess
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from lit_inpaint.config.entry_point import tune_malloc
from lit_inpaint.masks import (
    Boxes,
    CellularAutomaton,
    Center,
    CrossedStrokes,
    FreeForm,
    IrregularStrokes,
    LamaMasks,
    MaskRatio,
    MaskSource,
    PepsiStrokes,
    RandomWalk,
    Shapes,
)

SIDE = 256


class Comparison(NamedTuple):
    name: str
    ours: MaskSource
    public: Callable[[], object]
    side: int = SIDE


def module_of(clone: Path, commit: str, path: str, *unused: str, **needed: object) -> Any:
    """Load a file of a clone as a module, without its imports of `unused` packages; `needed` names replace them."""
    command = ["git", "-C", str(clone), "show", f"{commit}:{path}"]
    source = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    beginnings = tuple(f"{word} {package}" for package in unused for word in ("import", "from"))
    kept = "\n".join("" if line.startswith(beginnings) else line for line in source.splitlines())
    module = types.ModuleType(Path(path).stem)
    module.__dict__.update(needed)
    exec(compile(kept, path, "exec"), module.__dict__)
    return module


def nearest(mask: np.ndarray, size: tuple[int, int], interp: str) -> np.ndarray:
    """Resize zeros and ones as scipy.misc.imresize did: scale to 0 and 255, then resize."""
    assert interp == "nearest"
    return np.array(Image.fromarray((mask * 255).astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST))


def comparisons(options: argparse.Namespace) -> list[Comparison]:
    """List the mask sources whose public code is given."""
    found: list[Comparison] = []
    if options.gin:
        needed = {"ndimage": ndimage, "misc": types.SimpleNamespace(imresize=nearest)}
        gin = module_of(options.gin, "cfcef5d", "data/masks.py", "scipy", **needed).Masks
        found += [
            Comparison("CellularAutomaton", CellularAutomaton(), lambda: gin.get_ca_mask(SIDE, SIDE)),
            Comparison("CrossedStrokes", CrossedStrokes(), lambda: gin.get_ff_mask(SIDE, SIDE)),
            Comparison("Boxes, DeepGIN's", Boxes((1, 1), (0.3, 0.7), 0.0), lambda: gin.get_box_mask(SIDE, SIDE)),
        ]
    if options.lama:
        path = "saicinpainting/training/data/masks.py"
        lama = module_of(options.lama, "786f593", path, "saicinpainting", LinearRamp=None, SegmentationMask=None)
        strokes = {"max_angle": 4, "max_len": 200, "max_width": 100, "min_times": 1, "max_times": 5}
        boxes = {"margin": 10, "bbox_min_size": 30, "bbox_max_size": 150, "min_times": 1, "max_times": 4}
        image = np.zeros((3, SIDE, SIDE), np.float32)  # only its size is read
        irregular = lama.RandomIrregularMaskGenerator(**strokes)
        mixed = lama.MixedMaskGenerator(1, strokes, 1, boxes, segm_proba=0)
        found += [
            Comparison("IrregularStrokes", IrregularStrokes(), lambda: irregular(image)),
            Comparison("LamaMasks, train", LamaMasks("train"), lambda: mixed(image)),
        ]
    if options.pepsi:
        pepsi = module_of(options.pepsi, "be4e487", "ops.py", "tensorflow", "scipy")
        found.append(Comparison("PepsiStrokes", PepsiStrokes(), lambda: pepsi.ff_mask(SIDE, 1, 50, 30, 3.14, 5, 15)))
    if options.keras:
        keras = module_of(options.keras, "7c8f2cb", "libs/util.py").MaskGenerator(SIDE, SIDE, channels=1)
        found.append(Comparison("Shapes", Shapes(), keras.sample))
    if options.walk:
        walk = module_of(options.walk, "8d64e7e", "generate_data.py").random_walk
        canvas = 2 * SIDE
        start = random.randrange(canvas), random.randrange(canvas)
        draw = lambda: walk(np.ones((canvas, canvas), np.int32), *start, canvas**2)  # noqa: E731
        found.append(Comparison("RandomWalk, 512x512", RandomWalk(), draw, canvas))
    return found


def masks_per_second(draw: Callable[[], object], seconds: float) -> float:
    """Measure masks per second of this thread's processor time."""
    begin, count, spent = time.thread_time(), 0, 0.0
    while spent < seconds:
        draw()
        count += 1
        spent = time.thread_time() - begin
    return count / spent


def drawing(source: MaskSource, side: int) -> Callable[[], object]:
    """Return a function that draws one mask of `source`."""
    rng = torch.Generator().manual_seed(0)
    return lambda: source.sample_uint8((side, side), rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for clone in ("gin", "lama", "pepsi", "keras", "walk"):
        parser.add_argument(f"--{clone}", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args()
    tune_malloc()  # as `fit` does
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (the public code's generators)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name, ours, public, side in comparisons(options):
            draw = drawing(ours, side)
            rounds = [
                (masks_per_second(draw, options.seconds), masks_per_second(public, options.seconds))
                for _ in range(options.rounds)
            ]
            ratios = [our_rate / public_rate for our_rate, public_rate in rounds]
            our_rate, public_rate = (statistics.median(rates) for rates in zip(*rounds, strict=True))
            extremes = f"({min(ratios):.1f}-{max(ratios):.1f})"
            print(
                f"{name:22} {our_rate:8,.0f} masks/s, public {public_rate:8,.1f}: "
                f"{statistics.median(ratios):8.1f} x {extremes}",
                flush=True,
            )
    ratios_10_to_50, ratios_40_to_50 = MaskRatio(low=0.1, high=0.5), MaskRatio(low=0.4, high=0.5)
    walks = RandomWalk(), RandomWalk(tracks=256)
    for source in (FreeForm(), ratios_10_to_50, ratios_40_to_50, Boxes(), Center(), *walks):
        for draw in [drawing(source, SIDE)] * 2000:
            draw()  # until all tracks are there
        rates = [masks_per_second(drawing(source, side), options.seconds) for side in (SIDE, SIDE // 4)]
        print(f"{source}: {rates[0]:,.0f} masks/s at {SIDE}x{SIDE}, {rates[1]:,.0f} at {SIDE // 4}x{SIDE // 4}", flush=True)


if __name__ == "__main__":
    main()
