from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.data import Folder
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Center, FreeForm, MaskRatio, NvidiaMasks, RandomFromFolder, mask_ratio, read_mask

RATIOS = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six mask files of 20x20 pixels, white = hole, one for each of the set's mask-ratio ranges."""
    for ratio in RATIOS:
        pixels = np.zeros((20, 20), np.uint8)
        pixels.reshape(-1)[: round(400 * ratio)] = 255
        Image.fromarray(pixels).save(tmp_path / f"{ratio:.2f}.png")
    return tmp_path


def test_training_draws_unchanged_files_within_the_ratio(folder: Path) -> None:
    source, rng = NvidiaMasks(str(folder)), torch.Generator().manual_seed(0)
    drawn = [source((20, 20), rng) for _ in range(40)]
    files = [read_mask(folder / f"{ratio:.2f}.png") for ratio in RATIOS[1:5]]
    assert {next(index for index, file in enumerate(files) if torch.equal(mask, file)) for mask in drawn} == {0, 1, 2, 3}


def test_one_setting_is_the_folder_of_training_and_evaluation(folder: Path) -> None:
    data = Folder(str(folder), masks=NvidiaMasks(str(folder)))
    assert data.val_masks == tuple(
        RandomFromFolder(str(folder), augment=False, ratio=ratio) for ratio in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5))
    )
    rng = torch.Generator().manual_seed(0)
    ratios = [float(mask_ratio(source((20, 20), rng))) for source in data.val_masks]
    assert ratios == pytest.approx(RATIOS[1:5])


def test_other_training_masks_leave_the_evaluation_as_it_is(folder: Path) -> None:
    default = tuple(MaskRatio(FreeForm(), tens / 10, (tens + 1) / 10) for tens in (1, 2, 3, 4))
    assert Folder(str(folder), masks=Center()).val_masks == default
    assert Folder(str(folder), masks=RandomFromFolder(str(folder))).val_masks == default
    assert Folder(str(folder), masks=NvidiaMasks(str(folder)), val_masks=[Center()]).val_masks == (Center(),)


def test_identified_by_its_files(folder: Path) -> None:
    assert NvidiaMasks(str(folder)).fingerprint() != NvidiaMasks(str(folder), ratio=(0.1, 0.4)).fingerprint()


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the mask folder .*none does not exist"):
        NvidiaMasks(str(tmp_path / "none"))
