"""Compare seconds and values of FID over two folders of PNG files: pytorch-fid's own loop and `lit_inpaint.metrics`.

    python tests/benchmarks/fid.py COMPLETIONS TARGETS [--batch 50] [--rounds 3]

Runs both interleaved in one process, on the same files (read without workers) and the same Inception network. Its random
weights are written into a temporary file in the published format. Prints the median seconds for all features, then both
values and the seconds of each distance function.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pytorch_fid.inception
import torch
from pytorch_fid.fid_score import ImagePathDataset, calculate_frechet_distance, get_activations
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

from lit_inpaint.metrics.fid import FID
from lit_inpaint.metrics.inception_features import InceptionFeatures, build_inception, initialize_randomly
from lit_inpaint.storage.pretrained_weights import INCEPTION


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", type=Path, nargs=2)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    files = [sorted(folder.glob("*.png")) for folder in options.folders]
    count = min(map(len, files))
    files = [names[:count] for names in files]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LIT_INPAINT_CACHE"] = cache
        network = build_inception()
        initialize_randomly(network)
        torch.save(network.state_dict(), INCEPTION.path)
        pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: INCEPTION.read()
        theirs = pytorch_fid.inception.InceptionV3([3]).to(device)
        ours = InceptionFeatures()
        ours.require_weights()
    times: dict[str, list[float]] = {"pytorch-fid": [], "lit_inpaint": []}
    for _ in range(options.rounds):
        start = time.perf_counter()
        activations = [get_activations(names, theirs, options.batch, device=device, num_workers=0) for names in files]
        times["pytorch-fid"].append(time.perf_counter() - start)
        ours._targets.clear()
        fid = FID(ours).to(device)
        start = time.perf_counter()
        loaders = [DataLoader(ImagePathDataset(names, to_tensor), options.batch) for names in files]
        for prediction, target in zip(*loaders, strict=True):
            fid.update(prediction.to(device), target.to(device))
        times["lit_inpaint"].append(time.perf_counter() - start)
    for name, values in times.items():
        print(f"{name:12} {statistics.median(values):8.2f} s for the features of 2 x {count} images on {device.type}")
    start = time.perf_counter()
    value = float(fid.compute())
    print(f"lit_inpaint  {value:.9g}, distance in {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    moments = [moment for features in activations for moment in (features.mean(axis=0), np.cov(features, rowvar=False))]
    other = float(calculate_frechet_distance(*moments))
    seconds = time.perf_counter() - start
    print(f"pytorch-fid  {other:.9g}, distance in {seconds:.2f} s; relative difference {abs(value / other - 1):.1e}")


if __name__ == "__main__":
    main()
