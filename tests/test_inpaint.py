import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from tiny_gan import make_trainer

import lit_inpaint
from lit_inpaint import inpaint
from lit_inpaint.errors import UserError
from lit_inpaint.papers import EdgeConnect

Pixels = NDArray[np.uint8]
Run = Callable[..., int]


def noise(path: Path, size: tuple[int, int], mode: str = "RGB", number: int = 0) -> Pixels:
    """Save an image (width, height) that holds all byte values; return its pixels."""
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode).save(path)
    return np.asarray(Image.open(path))


def hole(path: Path, size: tuple[int, int], inverted: bool = False, quality: int = 95) -> NDArray[np.bool_]:
    """Save a mask (width, height) with a hole in its top left quarter, at least one pixel; return where the hole is."""
    width, height = size
    where = np.zeros((height, width), dtype=bool)
    where[: max(1, height // 2), : max(1, width // 2)] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(where != inverted, 255, 0).astype(np.uint8)).save(path, quality=quality)
    return where


@pytest.fixture
def run(checkpoint: Path, tmp_path: Path) -> Run:
    def call(images: str, masks: str, *options: str, output: str = "out") -> int:
        places = ["--images", str(tmp_path / images), "--masks", str(tmp_path / masks), "--output", str(tmp_path / output)]
        return inpaint.main(["--checkpoint", str(checkpoint), *places, *options])

    return call


def completed(path: Path, mode: str = "RGB") -> Pixels:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == mode
        return np.asarray(image)


@pytest.mark.parametrize("size", [(37, 53), (300, 200), (256, 16), (1, 40)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_known_pixels_stay_byte_for_byte(size: tuple[int, int], mode: str, run: Run, tmp_path: Path) -> None:
    source = noise(tmp_path / "input.png", size, mode)
    where = hole(tmp_path / "drawn.png", size)
    assert run("input.png", "drawn.png") == 0
    result = completed(tmp_path / "out" / "input.png", mode)
    assert result.shape == source.shape
    assert (result[~where] == source[~where]).all()
    assert (result[where] != source[where]).any()
    if mode == "RGBA":
        assert (result[..., 3] == source[..., 3]).all()


def test_one_pixel(run: Run, tmp_path: Path) -> None:
    noise(tmp_path / "input.png", (1, 1))
    hole(tmp_path / "mask.png", (1, 1))
    with pytest.raises(UserError, match=r"100\.0% of the image"):
        run("input.png", "mask.png")
    assert run("input.png", "mask.png", "--max_hole", "1") == 0
    assert completed(tmp_path / "out" / "input.png").shape == (1, 1, 3)


def test_grey_edges_of_a_jpeg_mask_are_cut_at_a_half(run: Run, tmp_path: Path) -> None:
    source = noise(tmp_path / "input.png", (60, 50))
    hole(tmp_path / "mask.jpg", (60, 50), quality=30)
    grey = np.asarray(Image.open(tmp_path / "mask.jpg"))
    assert ((grey > 0) & (grey < 255)).any()
    assert run("input.png", "mask.jpg") == 0
    result = completed(tmp_path / "out" / "input.png")
    assert (result[grey <= 127] == source[grey <= 127]).all()


def test_a_mask_that_changed_between_two_calls_is_read_again(tmp_path: Path) -> None:
    for name, size in (("a", (40, 24)), ("b", (24, 40))):
        pixels, where = noise(tmp_path / "image.png", size), hole(tmp_path / "mask.png", size)
        places = ["--images", str(tmp_path / "image.png"), "--masks", str(tmp_path / "mask.png")]
        assert inpaint.main([*places, "--method", "mean", "--output", str(tmp_path / name)]) == 0
        assert (completed(tmp_path / name / "image.png") != pixels).any(2)[where].mean() > 0.9


def test_the_content_of_the_holes_does_not_matter(run: Run, tmp_path: Path) -> None:
    source = noise(tmp_path / "a.png", (40, 30)).copy()
    where = hole(tmp_path / "mask.png", (40, 30))
    source[where] = 255 - source[where]
    Image.fromarray(source).save(tmp_path / "b.png")
    assert run("a.png", "mask.png") == run("b.png", "mask.png") == 0
    assert (completed(tmp_path / "out" / "a.png") == completed(tmp_path / "out" / "b.png")).all()


def test_black_is_hole(run: Run, tmp_path: Path) -> None:
    noise(tmp_path / "input.png", (40, 30))
    hole(tmp_path / "white.png", (40, 30))
    hole(tmp_path / "black.png", (40, 30), inverted=True)
    assert run("input.png", "white.png", output="white") == 0
    with pytest.raises(
        UserError, match=r"75\.0% of the image a hole \(white marks holes\): add --black_is_hole.*--max_hole 0\.6"
    ):
        run("input.png", "black.png", output="black")
    assert run("input.png", "black.png", "--black_is_hole", output="black") == 0
    assert (completed(tmp_path / "white" / "input.png") == completed(tmp_path / "black" / "input.png")).all()


def test_folders_are_paired_by_name(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {}
    for number, (name, mask) in enumerate((("a.jpg", "a.png"), ("b.png", "b_mask.jpg"), ("deep/c.d.bmp", "deep/c.d.png"))):
        size = (20 + number, 31)
        sources[name] = (noise(tmp_path / "images" / name, size, number=number), hole(tmp_path / "masks" / mask, size))
    assert run("images", "masks", output="images/out") == 0
    assert "3 images inpainted by LPINet" in capsys.readouterr().out
    for name, (source, where) in sources.items():
        result = completed((tmp_path / "images" / "out" / name).with_suffix(".png"))
        assert (result[~where] == source[~where]).all()
    assert len([path for path in (tmp_path / "images" / "out").rglob("*") if path.is_file()]) == 3
    assert run("images", "masks", output="images/out") == 0  # results of before are no inputs


def test_one_mask_for_a_folder_and_one_folder_for_both(run: Run, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        noise(tmp_path / "images" / name, (20, 30))
        hole(tmp_path / "images" / name.replace(".", "_mask."), (20, 30))
    hole(tmp_path / "mask.png", (20, 30))
    assert run("images", "images", output="own") == 0
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == ["a.png", "b.png"]
    for path in (tmp_path / "images").glob("*_mask.jpg"):
        path.unlink()
    assert run("images", "mask.png", output="same") == 0
    assert sorted(path.name for path in (tmp_path / "same").iterdir()) == ["a.png", "b.png"]


@pytest.fixture(scope="module")
def edge_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny EdgeConnect with initial weights."""
    torch.manual_seed(0)
    path, trainer = tmp_path_factory.mktemp("edges") / "tiny.ckpt", make_trainer(1)
    trainer.strategy.connect(EdgeConnect(width=2, discriminator_width=2))
    trainer.save_checkpoint(path)
    return path


def test_edges_are_drawn_in_the_holes(edge_checkpoint: Path, tmp_path: Path) -> None:
    sources = {}
    for name in ("a", "b"):
        sources[name] = noise(tmp_path / "images" / f"{name}.png", (37, 30))
        where = hole(tmp_path / "masks" / f"{name}.png", (37, 30))
    lines = np.zeros((30, 37), np.uint8)
    for folder, row in (("none", 0), ("lines", 9), ("outside", 25)):
        lines[:] = 0
        lines[row : row + 2 if row else 0] = 255
        (tmp_path / folder).mkdir()
        Image.fromarray(lines).save(tmp_path / folder / "a.png")
        Image.fromarray(lines).save(tmp_path / folder / "b_edges.png")
    results = {}
    for edges in ("none", "lines", "outside", "lines/a.png"):
        places = [f"--{option}={tmp_path / option}" for option in ("images", "masks")]
        output = tmp_path / f"out_{edges.partition('.')[0].replace('/', '_')}"
        options = [*places, "--checkpoint", str(edge_checkpoint), "--edges", str(tmp_path / edges), "--output", str(output)]
        assert inpaint.main(options) == 0
        results[edges] = completed(output / "b.png")
        assert (results[edges][~where] == sources["b"][~where]).all()
    assert (results["outside"] == results["none"]).all(), "known pixels keep their own edges"
    assert (results["lines"] != results["none"]).any()
    assert (results["lines/a.png"] == results["lines"]).all(), "one file for all images"


def test_edges_that_do_not_fit_are_one_line(edge_checkpoint: Path, run: Run, tmp_path: Path) -> None:
    noise(tmp_path / "images" / "a.png", (37, 30))
    hole(tmp_path / "masks" / "a.png", (37, 30))
    hole(tmp_path / "wide.png", (40, 30))
    hole(tmp_path / "others" / "c.png", (37, 30))
    places = [f"--{option}={tmp_path / option}" for option in ("images", "masks")]
    places += ["--checkpoint", str(edge_checkpoint), "--output", str(tmp_path / "out")]
    for edges, message in (
        ("wide.png", r"a\.png is 37x30 pixels \(width x height\) but its edge map .*wide\.png is 40x30; give an edge map of"),
        (
            "others",
            r"1 image\(s\) without an edge map in .*others: a\.png; 1 edge map\(s\) without an image: c\.png\. The edge map",
        ),
        ("missing", r"--edges .*missing does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            inpaint.main([*places, "--edges", str(tmp_path / edges)])
    with pytest.raises(UserError, match="LPINet takes no edges; leave them out"):
        run("images", "masks", "--edges", str(tmp_path / "masks"))
    assert not (tmp_path / "out").exists()


def test_pairs_are_complete_before_the_first_is_written(run: Run, tmp_path: Path) -> None:
    for name in "abcdefgh":
        noise(tmp_path / "images" / f"{name}.png", (20, 30))
        hole(tmp_path / "masks" / f"{name}.png", (20, 30))
    (tmp_path / "masks" / "h.png").unlink()
    with pytest.raises(UserError, match=r"1 image\(s\) without a mask in .*: h\.png"):
        run("images", "masks")
    for path in (tmp_path / "images").glob("[b-h].png"):
        path.unlink()
    with pytest.raises(UserError, match=r"6 mask\(s\) without an image: b\.png, c\.png, d\.png, e\.png, f\.png …"):
        run("images", "masks")
    assert not (tmp_path / "out").exists()


def test_one_broken_file_is_named_and_skipped(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abcdefg":
        noise(tmp_path / "images" / f"{name}.png", (20, 30))
        hole(tmp_path / "masks" / f"{name}.png", (20, 30))
    images, masks = tmp_path / "images", tmp_path / "masks"
    hole(masks / "a.png", (30, 20))
    Image.new("L", (20, 30)).save(masks / "b.png")
    Image.new("L", (20, 30), 255).save(masks / "c.png")
    (masks / "d.png").write_bytes((masks / "g.png").read_bytes()[:60])
    (images / "e.png").write_text("no image")
    frames = [Image.new("P", (20, 30), color) for color in (0, 1)]
    frames[0].save(images / "f.png", save_all=True, append_images=frames[1:])
    assert run("images", "masks") == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("1 image inpainted by LPINet, mean mask ratio 25.0%, 6 skipped, in")
    lines = [line for line in printed.err.splitlines() if line.startswith("skipped: ")]
    for line, message in zip(
        lines,
        (
            r"a\.png is 20x30 pixels .*masks/a\.png is 30x20",
            r"b\.png has no hole: white marks holes; add --black_is_hole",
            r"c\.png makes 100\.0% of the image a hole",
            r"cannot read the mask .*masks/d\.png",
            r"cannot read .*images/e\.png",
            r"images/f\.png has 2 frames",
        ),
        strict=True,
    ):
        assert re.search(message, line)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["g.png"]
    (masks / "g.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 7 images could be inpainted; the first: .*a\.png"):
        run("images", "masks", output="none")
    assert not (tmp_path / "none").exists()


def test_links_in_a_circle_and_pipes_are_skipped(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(tmp_path / "images" / "a.png", (20, 30))
    hole(tmp_path / "mask.png", (20, 30))
    (tmp_path / "images" / "b.png").symlink_to(tmp_path / "images" / "b.png")
    (tmp_path / "images" / "c").symlink_to(tmp_path / "images")
    os.mkfifo(tmp_path / "images" / "d.png")  # opening it would wait for a writer
    assert run("images", "mask.png") == 1
    printed = capsys.readouterr().err
    assert re.search(r"skipped: cannot read \S+b\.png \(Too many levels of symbolic links\)", printed)
    assert re.search(r"skipped: cannot read \S+d\.png \(not a regular file\)", printed)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_inputs_are_not_overwritten(run: Run, tmp_path: Path) -> None:
    source = noise(tmp_path / "input.png", (20, 30))
    hole(tmp_path / "mask.png", (20, 30))
    with pytest.raises(UserError, match="one of the inputs"):
        run("input.png", "mask.png", output=".")
    assert (np.asarray(Image.open(tmp_path / "input.png")) == source).all()
    noise(tmp_path / "inputs" / "a.png", (20, 30))
    noise(tmp_path / "inputs" / "a.jpg", (20, 30))
    with pytest.raises(UserError, match="differ only in their endings"):
        run("inputs", "mask.png")


def test_broken_bytes_in_a_mask(run: Run, tmp_path: Path) -> None:
    noise(tmp_path / "input.png", (20, 30))
    hole(tmp_path / "mask.png", (20, 30))
    whole = (tmp_path / "mask.png").read_bytes()
    for place in (11, 36):  # the header's length, the name of the data chunk: Pillow raises ValueError and SyntaxError
        (tmp_path / "mask.png").write_bytes(whole[:place] + b"\x00" + whole[place + 1 :])
        with pytest.raises(UserError, match=r"mask\.png"):
            run("input.png", "mask.png")


def test_a_turned_photo(run: Run, tmp_path: Path) -> None:
    turn = Image.Exif()
    turn[0x112] = 6
    Image.new("RGB", (40, 30), "red").save(tmp_path / "input.jpg", exif=turn)
    hole(tmp_path / "raw.png", (40, 30))
    hole(tmp_path / "seen.png", (30, 40))
    with pytest.raises(UserError, match=r"30x40 pixels .* 40x30; .*EXIF"):
        run("input.jpg", "raw.png")
    assert run("input.jpg", "seen.png") == 0
    assert completed(tmp_path / "out" / "input.png").shape == (40, 30, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_color_profile_resolution_and_exif_are_kept(suffix: str, run: Run, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Artist] = (1 if suffix == "tif" else 6), "N. N."
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExifImageWidth: 40, ExifTags.Base.ExifImageHeight: 30, ExifTags.Base.ISOSpeed: 400}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    save = {"icc_profile": profile, "exif": exif.tobytes(), "dpi": (300, 150)}
    Image.new("RGB", (40, 30), "red").save(tmp_path / f"input.{suffix}", **save)
    hole(tmp_path / "mask.png", (40, 30) if suffix == "tif" else (30, 40))
    assert run(f"input.{suffix}", "mask.png") == 0
    with Image.open(tmp_path / "out" / "input.png") as image:
        assert image.info["icc_profile"] == profile
        found = image.getexif()
        assert ExifTags.Base.Orientation not in found  # the pixels are turned
        assert found[ExifTags.Base.Artist] == "N. N."
        inner = found.get_ifd(ExifTags.IFD.Exif)
        assert inner[ExifTags.Base.ISOSpeed] == 400
        assert (inner[ExifTags.Base.ExifImageWidth], inner[ExifTags.Base.ExifImageHeight]) == image.size
        assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        if suffix != "webp":  # it holds no resolution
            assert image.info["dpi"] == pytest.approx((300, 150) if suffix == "tif" else (150, 300), rel=1e-3)


def test_a_profile_of_other_colors_and_broken_metadata_are_left_out(run: Run, tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(
        tmp_path / "input.jpg", icc_profile=bytes(profile), exif=b"Exif\0\0broken"
    )
    hole(tmp_path / "mask.png", (40, 30))
    assert run("input.jpg", "mask.png") == 0
    with Image.open(tmp_path / "out" / "input.png") as image:
        assert not image.info.keys() & {"icc_profile", "exif"}


@pytest.mark.parametrize(
    ("images", "masks", "options", "message"),
    [
        ("nowhere", "mask.png", [], "--images .*nowhere does not exist"),
        ("input.png", "nowhere", [], "--masks .*nowhere does not exist"),
        ("empty", "mask.png", [], "holds no image"),
        ("input.png", "mask.png", ["--max_hole", "1.5"], "--max_hole"),
        ("input.png", "mask.png", ["--max_hole", "nan"], "--max_hole"),
        ("input.png", "mask.png", ["--output", "mask.png/out"], "is a file, not a folder"),
        ("input.png", "mask.png", ["--checkpoint", "none.ckpt"], "no checkpoint at none.ckpt"),
        ("input.png", "mask.png", ["--blur", "3"], "--blur"),
    ],
)
def test_mistakes(images: str, masks: str, options: list[str], message: str, run: Run, tmp_path: Path) -> None:
    noise(tmp_path / "input.png", (20, 30))
    hole(tmp_path / "mask.png", (20, 30))
    (tmp_path / "empty").mkdir()
    options = [str(tmp_path / word) if word.startswith("mask.png/") else word for word in options]
    with pytest.raises(UserError, match=message):
        run(images, masks, *options)
    assert not (tmp_path / "out").exists()


def test_as_a_command(checkpoint: Path, tmp_path: Path) -> None:
    noise(tmp_path / "input.png", (20, 30))
    hole(tmp_path / "mask.png", (20, 30))
    argv = ["--checkpoint", checkpoint, "--images", tmp_path / "input.png", "--masks", tmp_path / "mask.png"]
    command = [sys.executable, "-m", "lit_inpaint.inpaint", *map(str, argv), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 image inpainted by LPINet, mean mask ratio 25.0%")


def test_a_classical_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = noise(tmp_path / "x.png", (40, 30)).copy()
    where = hole(tmp_path / "mask.png", (40, 30))
    places = ["--images", str(tmp_path / "x.png"), "--masks", str(tmp_path / "mask.png"), "--output", str(tmp_path / "out")]
    assert inpaint.main(["--method", "mean", *places]) == 0
    assert "1 image inpainted by Mean fill, mean mask ratio 25.0%" in capsys.readouterr().out
    pixels[where] = (pixels[~where].mean(axis=0) + 0.5).astype(np.uint8)
    assert (completed(tmp_path / "out" / "x.png") == pixels).all()
    for options, message in (
        (["--checkpoint", "x.ckpt", "--method", "mean"], "give --checkpoint FILE or --method NAME, one of the two"),
        (["--method", "mean", "--checkpoint", "x.ckpt"], "one of the two"),
        (["--method", "maen"], r"--method: there is no 'maen'.*did you mean 'mean'"),
        (["--method", "mean", "--blend"], "--blend goes with a network"),
    ):
        with pytest.raises(UserError, match=message):
            inpaint.main([*options, *places])


def test_blending(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    noise(tmp_path / "x.png", (40, 30))
    where = hole(tmp_path / "mask.png", (40, 30))
    assert run("x.png", "mask.png", "--strategy", "whole", output="plain") == 0
    assert run("x.png", "mask.png", "--strategy", "whole", "--blend", output="blended") == 0
    plain, blended = (completed(tmp_path / name / "x.png") for name in ("plain", "blended"))
    assert (plain[~where] == blended[~where]).all()
    assert (plain[where] != blended[where]).any()
    model = lit_inpaint.load(checkpoint)
    image, mask = torch.from_numpy(np.asarray(Image.open(tmp_path / "x.png")).copy()).permute(2, 0, 1), torch.from_numpy(where)
    model.blending = "poisson"
    assert (blended == (model.complete(image, mask)[0] * 255).round().byte().permute(1, 2, 0).numpy()).all()
