"""Compare the strategies of `lit_inpaint.inpaint` on large images: quality, or memory and time.

    python tests/benchmarks/large_images.py quality --images DIR --squeeze FILE.safetensors [--photos 3] [--min_side 1000]
    python tests/benchmarks/large_images.py memory --megapixels 12 --strategy crop

`quality` fills strokes, an inscription, boxes and one wide box in each photograph with a longer side of at least `--min_side`,
the smallest ones first. It prints means of the PSNR of the hole pixels in dB, of LPIPS (SqueezeNet) of the hole's bounding
box with 32 pixels around it, and of the seconds of processor time on one thread. `--squeeze` has the weights of torchvision's
SqueezeNet 1.1 (IMAGENET1K_V1).

`memory` makes one image and prints how much the process's peak resident set grew by filling it, and the seconds of processor
time. The image is noise; the mask has strokes, an inscription and one wide box. One process measures one strategy.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import lit_inpaint
from lit_inpaint.evaluation.baselines import find_method
from lit_inpaint.inpainting.strategies import Filler
from lit_inpaint.masks import Boxes, FreeForm, Lettering, MaskSource, MaskUnion

MASKS: dict[str, MaskSource] = {
    "strokes": FreeForm(strokes=(6, 6), width=(0.004, 0.02)),
    "inscription": Lettering(lines=(4, 4), characters=(14, 20), height=(0.03, 0.08)),
    "boxes": Boxes(count=(4, 4), side=(0.04, 0.1), margin=0.02),
    "wide box": Boxes(count=(1, 1), side=(0.25, 0.4), margin=0.1),
}


def load_lpips(squeeze: Path) -> torch.nn.Module:
    from lpips import LPIPS
    from safetensors.torch import load_file
    from torchvision.models import squeezenet1_1

    features = squeezenet1_1()
    features.load_state_dict({name: value.float() for name, value in load_file(squeeze).items()})
    network = LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    for number in range(1, 8):
        for name, module in getattr(network.net, f"slice{number}").named_children():
            module.load_state_dict(features.features[int(name)].state_dict())
    return network


def measure_quality(options: argparse.Namespace) -> None:
    network, model = load_lpips(options.squeeze), lit_inpaint.load()
    sizes = {path: max(Image.open(path).size) for path in sorted(options.images.iterdir()) if path.suffix.lower() == ".jpeg"}
    photos = sorted((path for path in sizes if sizes[path] >= options.min_side), key=lambda path: (sizes[path], path))
    fillers = {strategy: Filler(model, strategy, model.trained_size or 256) for strategy in ("whole", "tiles", "crop")}
    fillers["crop, full resolution only"] = Filler(model, "crop", model.trained_size or 256, coarse_to_fine=False)
    fillers["Telea"] = Filler(find_method("telea"), "crop", coarse_to_fine=False)
    scores: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for path in photos[options.first : options.first + options.photos]:
        image = np.asarray(Image.open(path).convert("RGB"))
        for number, (kind, source) in enumerate(MASKS.items()):
            hole = source(image.shape[:2], torch.Generator().manual_seed(number))[0].numpy() > 0.5
            for name, filler in fillers.items():
                filled, start = image.copy(), time.process_time()
                filler.fill(filled, 255, hole)
                seconds = time.process_time() - start
                assert np.array_equal(filled[~hole], image[~hole])
                error = np.square(filled[hole].astype(float) - image[hole]).mean()
                scores[kind, name].append((10 * np.log10(255**2 / error), lpips_around(network, filled, image, hole), seconds))
        print(path.name, image.shape, flush=True)
    for (kind, name), values in scores.items():
        psnr, lpips, seconds = np.mean(values, axis=0)
        print(f"{kind:12s} {name:26s} n={len(values)}  {psnr:.2f} dB  LPIPS {lpips:.4f}  {seconds:.1f} s")


def lpips_around(
    network: torch.nn.Module, filled: NDArray[np.uint8], image: NDArray[np.uint8], hole: NDArray[np.bool_]
) -> float:
    rows, columns = np.nonzero(hole)
    part = tuple(slice(max(0, places.min() - 32), places.max() + 33) for places in (rows, columns))
    both = [torch.from_numpy(pixels[part].copy()).permute(2, 0, 1)[None] / 127.5 - 1 for pixels in (filled, image)]
    with torch.no_grad():
        return float(network(*both))


def measure_memory(options: argparse.Namespace) -> None:
    width = round((options.megapixels * 1e6 * 4 / 3) ** 0.5)
    height = round(options.megapixels * 1e6 / width)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    union = MaskUnion((MASKS["strokes"], MASKS["inscription"], MASKS["wide box"]))
    hole = union((height, width), torch.Generator().manual_seed(0))[0].numpy() > 0.5
    model = lit_inpaint.load()
    filler = Filler(model, options.strategy, model.trained_size or 256)
    filler.fill(image[:64, :64].copy(), 255, np.ones((64, 64), bool))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    filler.fill(image, 255, hole)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{options.strategy}, {width}x{height}, {hole.mean():.1%} holes: {grown:.0f} MiB above {before / 1024:.0f} MiB, "
        f"{time.process_time() - start:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    quality = commands.add_parser("quality")
    quality.add_argument("--images", type=Path, required=True)
    quality.add_argument("--squeeze", type=Path, required=True)
    quality.add_argument("--photos", type=int, default=3)
    quality.add_argument("--first", type=int, default=0)
    quality.add_argument("--min_side", type=int, default=1000)
    quality.set_defaults(run=measure_quality)
    memory = commands.add_parser("memory")
    memory.add_argument("--megapixels", type=float, default=12)
    memory.add_argument("--strategy", choices=("crop", "tiles", "whole"), default="crop")
    memory.set_defaults(run=measure_memory)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.run(options)


if __name__ == "__main__":
    main()
