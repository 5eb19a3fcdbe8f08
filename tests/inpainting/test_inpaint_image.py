"""`lit_inpaint.inpaint`: the same kind out as in, known pixels byte for byte."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

import lit_inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.baselines import ClassicalMethod, mean_fill
from lit_inpaint.inpainting.inpaint_image import inpaint
from lit_inpaint.storage.image_files import ImageFile, read_image_file, write_image_file

MEAN = ClassicalMethod("mean", mean_fill)
SIZE = (40, 52)
HOLE = np.zeros(SIZE, bool)
HOLE[10:20, 15:40] = True


def noise(channels: int = 3) -> NDArray[np.uint8]:
    shape = SIZE if channels == 1 else (*SIZE, channels)
    return np.random.default_rng(channels).integers(0, 256, shape, np.uint8)


def unchanged_outside(result: NDArray[np.generic], source: NDArray[np.generic]) -> bool:
    return (
        result.shape == source.shape
        and result.dtype == source.dtype
        and np.array_equal(result[~HOLE], source[~HOLE])
        and not np.array_equal(result[HOLE], source[HOLE])
    )


@pytest.mark.parametrize(
    "array",
    [
        noise(1),
        noise(2),
        noise(3),
        noise(4),
        noise(1)[..., None],
        noise(1) > 127,
        noise(3).astype(np.uint16) * 257,
        noise(3).astype(np.uint16),
        noise(1).astype(np.int32) * 200,
        noise(3) / np.float32(255),
        noise(3) / 255.0,
        (noise(4) / 255).astype(np.float16),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays(array: NDArray[np.generic]) -> None:
    source = array.copy()
    result = inpaint(array, HOLE, MEAN)
    assert unchanged_outside(result, source)
    assert np.array_equal(array, source), "the argument is not changed"
    if array.ndim == 3 and array.shape[2] in (2, 4):
        assert np.array_equal(result[..., -1], source[..., -1]), "alpha is kept in the holes too"
    if array.dtype == np.uint16:
        assert abs(float(result[HOLE].mean()) / float(source.mean()) - 1) < 0.1


@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(noise(1)),
        torch.from_numpy(noise(3)).permute(2, 0, 1),
        torch.rand(2, 3, *SIZE),
        torch.rand(4, *SIZE, dtype=torch.float64),
        torch.rand(1, *SIZE).bfloat16(),
        torch.rand(2, 1, *SIZE).half(),
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tuple(tensor.shape)}",
)
def test_tensors(tensor: torch.Tensor) -> None:
    known = torch.from_numpy(~HOLE)
    for mask in (torch.from_numpy(HOLE), torch.from_numpy(HOLE)[None].float(), HOLE[None, None].astype(np.uint8) * 255):
        result = inpaint(tensor, mask, MEAN)
        assert (result.shape, result.dtype) == (tensor.shape, tensor.dtype)
        assert torch.equal(result[..., known], tensor[..., known])
        assert not torch.equal(result[..., ~known], tensor[..., ~known])


def test_a_mask_for_each_image_of_a_batch() -> None:
    batch, masks = torch.rand(2, 3, *SIZE), torch.zeros(2, 1, *SIZE)
    masks[0, :, :5], masks[1, :, -5:] = 1, 1
    changed = (inpaint(batch, masks, MEAN) != batch).any(dim=1, keepdim=True)
    assert torch.equal(changed.float(), masks)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F", "P"])
def test_pillow_images(mode: str) -> None:
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(noise(1).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
        image = image if mode != "F" else Image.fromarray(np.asarray(image) / np.float32(255))
    else:
        image = Image.fromarray(noise(4 if mode in ("RGBA", "LA") else 3)).convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.info |= {"icc_profile": b"profile", "dpi": (300, 300), "exif": exif.tobytes()}
    result = inpaint(image, Image.fromarray(HOLE), MEAN)
    assert result.size == image.size, "Pillow images are not turned"
    assert result.mode == ("RGB" if mode == "P" else mode)
    expected = image.convert("RGB") if mode == "P" else image
    assert unchanged_outside(np.asarray(result), np.asarray(expected))
    assert {name: result.info[name] for name in ("icc_profile", "dpi", "exif")} == {
        name: image.info[name] for name in ("icc_profile", "dpi", "exif")
    }


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 1), ("uint8", 4), ("uint16", 1), ("uint16", 3), ("uint16", 4)])
def test_files(dtype: str, channels: int, suffix: str, tmp_path: Path) -> None:
    pixels = noise(channels).astype(dtype) * (1 if dtype == "uint8" else 257)
    write_image_file(ImageFile(pixels), tmp_path / f"x{suffix}")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    written = inpaint(tmp_path / f"x{suffix}", tmp_path / "mask.png", MEAN, output=tmp_path / "out" / f"y{suffix}")
    assert written == tmp_path / "out" / f"y{suffix}"
    assert unchanged_outside(read_image_file(written).pixels, pixels)
    if dtype == "uint16" and channels > 1:
        with pytest.raises(UserError, match=r"no mode for colors of 16 bits; name an output file"):
            inpaint(tmp_path / f"x{suffix}", HOLE, MEAN)
    else:
        assert np.array_equal(np.asarray(inpaint(tmp_path / f"x{suffix}", HOLE, MEAN)), read_image_file(written).pixels)


def test_a_turned_photo_keeps_how_it_is_shown(tmp_path: Path) -> None:
    """A file's mask fits the image as viewers show it, and so does the result; its profile is kept."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(noise(3)).save(tmp_path / "x.png", exif=exif, icc_profile=profile)
    shown = np.rot90(noise(3), -1)
    result = inpaint(str(tmp_path / "x.png"), np.rot90(HOLE, -1).copy(), MEAN)
    assert np.array_equal(np.asarray(result)[~np.rot90(HOLE, -1)], shown[~np.rot90(HOLE, -1)])
    assert result.info["icc_profile"] == profile
    with pytest.raises(ValueError, match="give a mask of the image's size"):
        inpaint(str(tmp_path / "x.png"), HOLE, MEAN)


def test_black_may_mark_the_hole_and_edges_need_a_network() -> None:
    source = noise(3)
    assert np.array_equal(inpaint(source, ~HOLE, MEAN, white_is_hole=False), inpaint(source, HOLE, MEAN))
    assert np.array_equal(inpaint(source, HOLE * 255, method="mean"), inpaint(source, HOLE, MEAN, size=256))
    with pytest.raises(UserError, match="edges go with a network"):
        inpaint(source, HOLE, MEAN, edges=HOLE)
    with pytest.raises(UserError, match="blending goes with a network"):
        inpaint(source, HOLE, MEAN, blend=True)


def test_a_mask_file_of_several_frames_is_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "mask.gif", save_all=True, append_images=[Image.new("L", (8, 8), 255)])
    with pytest.raises(UserError, match=r"mask\.gif has 2 frames or pages"):
        inpaint(np.zeros((8, 8, 3), np.uint8), tmp_path / "mask.gif", method="mean")


def test_a_mask_without_a_hole_changes_nothing() -> None:
    assert np.array_equal(inpaint(noise(3), np.zeros(SIZE), MEAN), noise(3))


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (noise(3).transpose(2, 0, 1), HOLE, r"image is \(3, 40, 52\); expected \(H, W\) or \(H, W, C\)"),
        (noise(3).astype(np.int64), HOLE, "image is int64; expected bool, uint8"),
        (noise(3).astype(np.float32), HOLE, r"image spans \[0, 255\] outside its holes; expected \[0, 1\]"),
        (noise(3), HOLE[1:], r"mask is \(39, 52\) beside an image of \(40, 52\)"),
        (noise(3), HOLE * 128, "mask has other values than 0 and 1, or 0 and 255; threshold it"),
        (noise(3), "missing.png", r"cannot read the mask missing\.png"),
        (noise(3), [[1]], "mask is a list; expected a path, a Pillow image, a NumPy array or a tensor"),
        ([1, 2], HOLE, "image is a list"),
        ("missing.png", HOLE, r"cannot read missing\.png"),
        (torch.rand(5, *SIZE), HOLE, r"image is \(5, 40, 52\); expected \(H, W\), \(C, H, W\)"),
    ],
)
def test_mistakes_name_the_remedy(image: object, mask: object, message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        inpaint(image, mask, MEAN)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": 5}, "model is a int; expected a network of lit_inpaint, or the path of a checkpoint"),
        ({"model": torch.nn.ReLU()}, "model is a ReLU; expected a network"),
        ({"method": "mean", "size": "256"}, "size is '256', it must be a whole number of at least 8"),
        ({"method": "mean", "size": 300.5}, "size is 300.5, it must be a whole number"),
        (
            {"method": "mean", "output": "x.png"},
            "output goes with the path of an image; save the result for this ndarray yourself",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inpaint(noise(3), HOLE, **options)


def test_outputs_are_checked(tmp_path: Path) -> None:
    Image.fromarray(noise(3)).save(tmp_path / "x.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "x.png")
    before = (tmp_path / "x.png").read_bytes()
    for output, message in (
        ("y.jpg", r"must end with \.png or \.tif"),
        ("x.png", "is the image itself"),
        ("link.png", "is the image itself"),
        ("x.png/y.png", "is a file, not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            inpaint(tmp_path / "x.png", HOLE, MEAN, output=tmp_path / output)
    assert (tmp_path / "x.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_the_module_of_the_command_is_the_function() -> None:
    """Whichever is imported first, `lit_inpaint.inpaint` can be called, and has the function's signature."""
    assert inspect.signature(lit_inpaint.inpaint) == inspect.signature(inpaint)
    assert np.array_equal(lit_inpaint.inpaint(noise(3), HOLE, MEAN), inpaint(noise(3), HOLE, MEAN))
    lines = "import lit_inpaint, lit_inpaint.inpaint as m; assert callable(lit_inpaint.inpaint) and m is lit_inpaint.inpaint"
    subprocess.run([sys.executable, "-c", f"{lines}; assert callable(m.main); from lit_inpaint import inpaint"], check=True)


def test_the_network_of_the_package_fills_smoothly() -> None:
    """On a slope, the filled pixels stay near it, with no step at the hole's border, by each strategy."""
    rows, columns = np.mgrid[:180, :200]
    source = np.repeat((60 + 0.3 * rows + 0.4 * columns)[..., None], 3, axis=2).astype(np.uint8)
    hole = np.zeros((180, 200), bool)
    hole[60:100, 50:160] = True
    for strategy in ("crop", "tiles", "whole"):
        result = inpaint(source, hole, strategy=strategy, size=64)
        assert np.array_equal(result[~hole], source[~hole])
        assert np.abs(result[hole].astype(int) - source[hole]).mean() < 12
