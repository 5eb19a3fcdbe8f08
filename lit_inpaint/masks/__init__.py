"""Mask sources: frozen dataclasses of options, called as `source((H, W), rng) -> (1, H, W)`.

A mask is a pure function of the size and of the generator's state. It holds exactly 0 and 1; 1 marks a hole.

Sources for the masks of each paper, or of its public code:

| paper | source |
|---|---|
| Context Encoders | `Center()` |
| partial convolutions on birds and cars | `Center(64)` |
| WaveMix, 8x8 of 96x96 | `Boxes(count=(1, 1), side=(1 / 12, 1 / 12), margin=10 / 96)` |
| WaveMix, 12x12 of 96x96 | `Boxes(count=(1, 1), side=(1 / 8, 1 / 8), margin=10 / 96)` |
| DeepFill v1, rectangle | `Boxes(count=(1, 1), side=(0.375, 0.5), margin=0.0)` |
| DeepFill v2, strokes and a rectangle | `MaskUnion((FreeForm(), Boxes(count=(1, 1), side=(0.375, 0.5), margin=0.0)))` |
| EdgeConnect, types 1 and 2 | `Boxes(count=(1, 1), side=(0.5, 0.5), margin=0.0)`, `HalfImage()` |
| EdgeConnect, type 3 | mask files: `RandomFromFolder(DIR)` |
| LPI-Net | NVIDIA's mask files: `NvidiaMasks(DIR)`; without them `MaskRatio(FreeForm(), 0.1, 0.2)` and so on |
| PEPSI, training | `RandomFlipRot90(PepsiStrokes())` |
| PEPSI, samples | `PepsiStrokes(strokes=(3, 6), pieces=(5, 10), radius=(15 / 256, 20 / 256))` |
| DeepGIN, three types | `Boxes(count=(1, 1), side=(0.3, 0.7), margin=0.0)`, `CellularAutomaton()`, `CrossedStrokes()` |
| the same by its text | `FreeForm()` in place of `CrossedStrokes()` |
| LaMa, training | `LamaMasks("train")`, ablation `LamaMasks("train_small")` |
| LaMa, tests at 256x256 | `LamaMasks("thin")`, `LamaMasks("medium")`, `LamaMasks("thick")` |
| LaMa, tests at 512x512 | `LamaMasks("thin_512")`, `LamaMasks("medium_512")`, `LamaMasks("thick_512")` |
| WaveMix, training | `LamaMasks("wavemix_stl10")`; the released model's `LamaMasks("wavemix_224")` |
| partial convolutions, Keras port | `Shapes()` |
| partial convolutions, naoto0804's port | `RandomWalk()`, ten times as fast `RandomWalk(tracks=1000)` |
"""

from lit_inpaint.masks.base import MaskSource, NumpyMaskSource, mask_ratio
from lit_inpaint.masks.boxes import Boxes
from lit_inpaint.masks.cellular_automaton import CellularAutomaton
from lit_inpaint.masks.center import Center
from lit_inpaint.masks.crossed_strokes import CrossedStrokes
from lit_inpaint.masks.free_form import FreeForm
from lit_inpaint.masks.half_image import HalfImage
from lit_inpaint.masks.irregular_strokes import IrregularStrokes
from lit_inpaint.masks.lama_masks import LamaMasks
from lit_inpaint.masks.lettering import Lettering
from lit_inpaint.masks.mask_ratio_range import MaskRatio
from lit_inpaint.masks.mask_union import MaskUnion
from lit_inpaint.masks.mixture import Mixture
from lit_inpaint.masks.nvidia_masks import NvidiaMasks
from lit_inpaint.masks.pepsi_strokes import PepsiStrokes
from lit_inpaint.masks.per_image_masks import PerImageMasks
from lit_inpaint.masks.random_flip_rot90 import RandomFlipRot90
from lit_inpaint.masks.random_from_folder import RandomFromFolder
from lit_inpaint.masks.random_walk import RandomWalk
from lit_inpaint.masks.read_mask import read_mask
from lit_inpaint.masks.shapes import Shapes

__all__ = [
    "Boxes",
    "CellularAutomaton",
    "Center",
    "CrossedStrokes",
    "FreeForm",
    "HalfImage",
    "IrregularStrokes",
    "LamaMasks",
    "Lettering",
    "MaskRatio",
    "MaskSource",
    "MaskUnion",
    "Mixture",
    "NumpyMaskSource",
    "NvidiaMasks",
    "PepsiStrokes",
    "PerImageMasks",
    "RandomFlipRot90",
    "RandomFromFolder",
    "RandomWalk",
    "Shapes",
    "mask_ratio",
    "read_mask",
]
