"""`PerImageMasks`: lookup of the mask of an image by name, and joint transforms."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_inpaint.data import Folder, RandomResizedCrop, ResizedCenterCrop, read_image
from lit_inpaint.errors import UserError
from lit_inpaint.masks import MaskRatio, PerImageMasks


def _save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two images, 40x32 pixels, that are white exactly where their masks have a hole."""
    for number, name in enumerate(("a/1", "b/1")):
        hole = np.zeros((32, 40), np.uint8)
        hole[4 + 3 * number : 20, 6:33] = 255
        _save(tmp_path / "images" / "val" / f"{name}.png", np.stack([hole] * 3, axis=-1))
        _save(tmp_path / "masks" / f"{name}{'_mask' * number}.png", hole)
    return tmp_path


@pytest.mark.parametrize("transform", [ResizedCenterCrop(), RandomResizedCrop((0.4, 0.9))])
def test_mask_is_transformed_with_its_image(pairs: Path, transform: ResizedCenterCrop | RandomResizedCrop) -> None:
    root = str(pairs / "images")
    masks = [PerImageMasks(str(pairs / "masks"))]
    data = Folder(root, size=32, workers=0, val_masks=masks, val_transform=transform, val_crops=3)
    data.setup("validate")
    (batch,) = data.val_dataloader()
    assert len(batch["name"]) == 6
    assert torch.equal(batch["mask"], (batch["image"][:, :1] > 0.5).float())
    assert 0 < batch["mask"].mean() < 1


def test_black_marks_the_hole(pairs: Path) -> None:
    image = read_image(pairs / "images" / "val" / "a" / "1.png")
    mask = PerImageMasks(str(pairs / "masks"), white_is_hole=False).mask_of("a/1", (32, 40))
    assert torch.equal(mask, (image[:1] < 128).to(torch.uint8))


def test_training_batch(pairs: Path) -> None:
    data = Folder(str(pairs / "images" / "val"), size=16, batch_size=4, workers=0, masks=PerImageMasks(str(pairs / "masks")))
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch["mask"], (batch["image"][:, :1] > 0.5).float())


def test_image_without_a_mask_is_named_before_any_file_is_read(pairs: Path) -> None:
    (pairs / "masks" / "b" / "1_mask.png").unlink()
    data = Folder(str(pairs / "images"), size=32, workers=0, val_masks=[PerImageMasks(str(pairs / "masks"))])
    with pytest.raises(UserError, match=r"1 of 2 images have no mask: no mask in .*masks for b/1; .*x_mask\.png"):
        data.setup("validate")


def test_two_images_with_one_mask_are_an_error(pairs: Path) -> None:
    for name in ("a/1.png", "b/1_mask.png"):
        (pairs / "masks" / name).rename(pairs / "masks" / "1.png")
    data = Folder(str(pairs / "images"), size=32, workers=0, val_masks=[PerImageMasks(str(pairs / "masks"))])
    with pytest.raises(UserError, match=r"two images, a/1 and b/1, have the mask .*masks/1\.png"):
        data.setup("validate")


def test_mask_of_another_size_names_both_sizes(pairs: Path) -> None:
    _save(pairs / "masks" / "a" / "1.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match=r"a/1\.png is 8x8 pixels .* its image 40x32"):
        PerImageMasks(str(pairs / "masks")).mask_of("a/1", (32, 40))


def test_error_in_a_loader_worker_is_one_line(pairs: Path) -> None:
    _save(pairs / "masks" / "a" / "1.png", np.zeros((8, 8), np.uint8))
    data = Folder(str(pairs / "images"), size=32, workers=1, val_masks=[PerImageMasks(str(pairs / "masks"))])
    data.setup("validate")
    with pytest.raises(UserError, match=r"^the mask [^\n]*a/1\.png is 8x8 pixels [^\n]*$"):
        list(data.val_dataloader())


def test_missing_folder_and_call_without_image(tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        PerImageMasks(str(tmp_path / "none"))
    with pytest.raises(UserError, match="belong to images by name"):
        MaskRatio(PerImageMasks(str(pairs / "masks")))((8, 8), torch.Generator())
