from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from lit_inpaint.masks import FromFolder, hole_share, read_mask
from lit_inpaint.types import UserError


def disc(side: int = 128, radius: int = 40) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    return ((x**2 + y**2) < radius**2).astype(np.uint8) * 255


def save(array: np.ndarray, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(disc(radius=20), tmp_path / "b" / "small.png")
    save(disc(radius=40), tmp_path / "a.JPG")
    corner = np.zeros((96, 160), np.uint8)
    corner[:48, :50] = 255
    save(corner, tmp_path / "c.jpeg")
    (tmp_path / "notes.txt").write_text("not a mask")
    (tmp_path / "._a.png").write_bytes(b"a resource fork")
    return tmp_path


def test_grey_edges_of_a_jpeg_become_neither_holes_nor_greys(tmp_path: Path) -> None:
    soft = np.array(Image.fromarray(disc()).filter(ImageFilter.GaussianBlur(2)))
    path = save(soft, tmp_path / "soft.jpg", quality=30)
    grey = np.array(Image.open(path))
    assert ((grey > 0) & (grey < 255)).mean() > 0.1  # the file is what the test is about
    mask = read_mask(path)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert hole_share(mask).item() == pytest.approx((disc() > 0).mean(), rel=0.02)
    assert (grey > 0).mean() > 1.2 * hole_share(mask).item()  # "> 0" would widen the hole


def test_polarity_size_and_colour_modes(tmp_path: Path) -> None:
    path = save(disc(), tmp_path / "m.png")
    mask = read_mask(path)
    assert mask.shape == (1, 128, 128)
    assert mask.dtype == torch.float32
    assert mask[0, 64, 64] == 1
    assert mask[0, 0, 0] == 0
    assert torch.equal(read_mask(path, white_is_hole=False), 1 - mask)
    assert read_mask(path, size=(32, 64)).shape == (1, 32, 64)
    third = read_mask(save(disc(side=96, radius=31), tmp_path / "96.png"), size=(32, 32))
    assert set(third.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(third, third.flip(1, 2))  # the pixel under the centre: nothing moves
    for mode in ("1", "RGB", "RGBA", "P"):
        Image.open(path).convert(mode).save(tmp_path / f"{mode}.png")
        assert torch.equal(read_mask(tmp_path / f"{mode}.png"), mask)


def test_a_threshold_at_a_half(tmp_path: Path) -> None:
    path = save(np.array([[127, 128]], np.uint8), tmp_path / "m.png")
    assert read_mask(path).flatten().tolist() == [0, 1]
    assert read_mask(path, white_is_hole=False).flatten().tolist() == [1, 0]


def test_16_bit_grey_is_cut_at_a_half_too(tmp_path: Path) -> None:
    pixels = np.array([[0, 200, 32000, 33500, 65535]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    assert read_mask(tmp_path / "deep.png").flatten().tolist() == [0, 0, 0, 1, 1]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG no more")
    for path in (broken, tmp_path / "missing.png"):
        with pytest.raises(UserError, match=path.name):
            read_mask(path)
    truncated = save(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), tmp_path / "truncated.png")
    truncated.write_bytes(truncated.read_bytes()[:900])
    with pytest.raises(UserError, match=r"truncated\.png"):
        read_mask(truncated)
    ones = save(disc() // 255, tmp_path / "ones.png")
    with pytest.raises(UserError, match=r"ones\.png holds only the grey values 0 and 1"):
        read_mask(ones)


def test_a_folder_lists_masks_below_it_in_order_once(folder: Path) -> None:
    source = FromFolder(str(folder))
    assert [path.relative_to(folder).as_posix() for path in source.files] == ["a.JPG", "b/small.png", "c.jpeg"]
    save(disc(), folder / "later.png")
    assert len(source.files) == 3


def test_without_augmentation_the_files_come_as_they_are(folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    source = FromFolder(str(folder), augment=False)
    expected = {read_mask(path, (64, 64)).numpy().tobytes() for path in source.files}
    assert {source((64, 64), rng).numpy().tobytes() for _ in range(40)} == expected
    inverted = FromFolder(str(folder), white_is_hole=False, augment=False)
    assert torch.equal(inverted((64, 64), rng.manual_seed(1)), 1 - source((64, 64), rng.manual_seed(1)))


def test_augmentation_moves_holes_but_keeps_them_masks(folder: Path) -> None:
    source = FromFolder(str(folder))
    rng = torch.Generator().manual_seed(0)
    masks = [source((64, 48), rng) for _ in range(60)]
    assert all(mask.shape == (1, 64, 48) and mask.unique().tolist() == [0.0, 1.0] for mask in masks)
    assert len({mask.numpy().tobytes() for mask in masks}) > 40
    corners = torch.stack([mask[0, [0, 0, -1, -1], [0, -1, 0, -1]] for mask in masks])
    assert (corners.sum(dim=0) > 0).all()  # the corner mask visits every corner
    assert all(torch.equal(mask, source((64, 48), rng)) for rng in [rng.manual_seed(0)] for mask in masks)


def test_a_folder_without_masks_is_refused_at_construction(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} holds no PNG or JPEG file; put the masks there"):
        FromFolder(str(tmp_path))
    with pytest.raises(UserError, match="nowhere does not exist"):
        FromFolder(str(tmp_path / "nowhere"))


def test_a_damaged_file_is_named_when_drawn(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"bad\.png"):
        FromFolder(str(tmp_path))((8, 8), torch.Generator())
