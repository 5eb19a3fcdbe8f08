from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lit_inpaint.config.check_settings import build, check
from lit_inpaint.config.load_yaml import load_experiment, override
from lit_inpaint.data import FFHQ, STL10, CelebA, DemoPhotos, InpaintingData, NativeSize, ResizedCenterCrop, Splits
from lit_inpaint.data.image_source import ImageFiles
from lit_inpaint.errors import UserError
from lit_inpaint.evaluation.published_rows import MARK, check_table_names, metric_notes, select_tables
from lit_inpaint.masks import Boxes, CellularAutomaton, Center, CrossedStrokes, FreeForm, MaskSource, Mixture
from lit_inpaint.published import quality_tables

BOX = Boxes(count=(1, 1), side=(0.3, 0.7), margin=0.0)
THREE = [BOX, CellularAutomaton(), CrossedStrokes()]


@pytest.fixture(autouse=True)
def official_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every data set finds its own layout, without files."""
    none = ImageFiles.from_names(Path(), [])
    for kind in (FFHQ, STL10):
        monkeypatch.setattr(kind, "splits", lambda self: Splits(none, none, none, "official split"))


def faces(masks: list[MaskSource], **options: Any) -> InpaintingData:
    return FFHQ(val_masks=masks, **options)


def shown(paper: str, data: InpaintingData, names: list[str] | None = None, split: str = "test") -> list[str]:
    return [table.name for table in select_tables(paper, names, data, split).tables]


def test_a_table_is_shown_beside_its_own_data_masks_and_size_alone() -> None:
    assert shown("deepgin", faces([BOX])) == ["deepgin_ffhq_rectangles_256"]
    assert shown("deepgin", faces([BOX], val_transform=NativeSize())) == ["deepgin_ffhq_rectangles_os"]
    assert shown("deepgin", faces([Mixture(tuple(THREE[::-1]))])) == ["deepgin_ffhq_three_masks_256"]
    by_the_text = Mixture((*THREE[:2], FreeForm()))
    assert shown("deepgin", faces([by_the_text], val_transform=NativeSize())) == ["deepgin_ffhq_three_masks_os"]
    for other in (
        faces([BOX], size=128),
        faces([BOX], val_transform=NativeSize(max_size=256)),
        faces([BOX, BOX]),
        faces(THREE),  # three masks for each image, where the paper has one
        faces([Boxes(count=(1, 1), side=(0.3, 0.6), margin=0.0)]),
        faces([Mixture((BOX, CellularAutomaton()))]),
        faces([Mixture(tuple(THREE), weights=(1.0, 1.0, 2.0))]),
        faces([FreeForm()]),
        DemoPhotos(val_masks=[BOX], size=256, val_transform=ResizedCenterCrop(), val_crops=1),
    ):
        assert not shown("deepgin", other)
    assert not shown("deepgin", faces([BOX]), split="val")


def test_masks_of_which_the_paper_does_not_state_the_position_match_at_any() -> None:
    def images(mask: MaskSource) -> InpaintingData:
        return STL10(size=96, val_masks=[mask])

    assert shown("wavemix", images(Center(8))) == ["wavemix_8x8"]
    assert shown("wavemix", images(Boxes(count=(1, 1), side=(0.125, 0.125), margin=0.0))) == ["wavemix_12x12"]
    assert not shown("wavemix", images(Center(10)))


def test_a_line_says_why_a_table_is_not_shown() -> None:
    tables, notes = select_tables("deepgin", None, faces([BOX], size=128), "test")
    assert not tables
    (note,) = notes
    assert note.startswith("Published but not shown beside these rows: deepgin_ffhq_rectangles_os, of another size (original")
    assert "deepgin_ffhq_three_masks_256, of another size (256 px), other masks (one of three types" in note
    assert "oxford" not in note
    assert note.endswith("(--published NAME shows a table all the same).")
    (note,) = select_tables("lpi_net", None, faces([BOX]), "test").notes
    assert "lpi_places2, of Places2, test; lpi_celeba, of CelebA, test" in note
    assert select_tables("lpi_net", ["none"], faces([BOX]), "test") == ((), [])
    assert select_tables("pepsi", None, faces([BOX]), "test") == ((), ["No published scores for pepsi are on file."])


def test_a_table_that_is_named_is_shown_with_its_differences() -> None:
    tables, notes = select_tables("deepgin", ["deepgin_celebahq"], faces([BOX]), "test")
    assert [table.name for table in tables] == ["deepgin_celebahq"]
    (note,) = notes
    assert note.startswith(f"{MARK} published, but of other images (CelebA-HQ, 3,000 images drawn at random), another size")
    _, (same, _) = select_tables("deepgin", None, faces([BOX]), "test")
    assert same.startswith(f"{MARK} published, of the same data set, masks and size; not ranked. Li et al., DeepGIN")


def test_a_folder_without_the_official_layout_is_another_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    _, (note,) = select_tables("deepgin", None, faces([BOX], root=str(tmp_path)), "test")
    assert "deepgin_ffhq_rectangles_256, of other images (FFHQ, images drawn at random; here no images1024x1024" in note


def test_nvidias_masks_by_ratio_are_taken_for_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiments have strokes in place of the mask files that may not be redistributed."""
    for number, hole in enumerate((15, 25, 35, 45)):
        mask = Image.new("L", (100, 100))
        mask.paste(255, (0, 0, 100, hole))
        mask.save(tmp_path / f"{number}.png")
    source = "{{class_path: lit_inpaint.masks.RandomFromFolder, init_args: {{root: {}, ratio: [{}, {}]}}}}"
    sources = ", ".join(source.format(tmp_path, low / 10, (low + 1) / 10) for low in (1, 2, 3, 4))
    none = ImageFiles.from_names(Path(), [])
    monkeypatch.setattr(CelebA, "splits", lambda self: Splits(none, none, none, "official split"))
    for options, names in (([], []), ([f"--data.val_masks=[{sources}]"], ["lpi_celeba"])):
        data = build(check(override(load_experiment("lpi_celeba"), options))).data
        tables, notes = select_tables("lpi_net", None, data, "test")
        assert [table.name for table in tables] == names
    assert f"The files in {tmp_path} are taken for PConv's irregular masks" in notes[0]
    assert "EdgeConnect's public code measures gray images" in notes[0]


def test_nvidias_masks_in_the_experiments_are_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, hole in enumerate((15, 25, 35, 45)):
        mask = Image.new("L", (100, 100))
        mask.paste(255, (0, 0, 100, hole))
        mask.save(tmp_path / f"{number}.png")
    none = ImageFiles.from_names(Path(), [])
    for dataset in ("celeba", "places2"):
        config = override(load_experiment(f"lpi_{dataset}_nvidia_masks"), [f"--data.masks.root={tmp_path}"])
        data = build(check(config)).data
        monkeypatch.setattr(type(data), "splits", lambda self: Splits(none, none, none, "official split"))
        assert shown("lpi_net", data) == [f"lpi_{dataset}"]


@pytest.mark.parametrize(
    ("experiment", "size", "tables"),
    [
        ("deepgin_celebahq", None, ["deepgin_celebahq"]),
        ("deepgin_celebahq_paper", None, ["deepgin_celebahq"]),
        *((f"deepgin_{data}_{kind}", size, [f"deepgin_{data}_{kind}_{size or 'os'}"])
          for data in ("ffhq", "oxford") for kind in ("rectangles", "three_masks") for size in (None, 256)),
        ("wavemix_stl10_8x8", 96, ["wavemix_8x8"]),
        ("wavemix_stl10_12x12", 96, ["wavemix_12x12"]),
        ("wavemix_stl10_mask_sizes", 96, []),
    ],
)  # fmt: skip
def test_an_experiment_stands_beside_its_own_rows(
    experiment: str, size: int | None, tables: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the options that `evaluate` adds under the protocol deepgin: original sizes without --data.size."""
    options = [f"--data.size={size}"] if size else ["--data.val_transform=lit_inpaint.data.NativeSize"]
    data = build(check(override(load_experiment(experiment), options))).data
    none = ImageFiles.from_names(Path(), [])
    monkeypatch.setattr(type(data), "splits", lambda self: Splits(none, none, none, "official split"))
    assert shown(experiment.partition("_")[0], data) == tables


def test_unknown_names() -> None:
    check_table_names(["lpi_celeba", "deepgin_celebahq", "none"])
    with pytest.raises(UserError, match=r"--published: there is no table 'lpi_celeb'; there are .*did you mean 'lpi_celeba'"):
        check_table_names(["lpi_celeb"])
    with pytest.raises(UserError, match="--published: deepgin has no table 'lpi_celeba'"):
        select_tables("deepgin", ["lpi_celeba"], faces([BOX]), "test")


def test_metrics_without_a_column_are_named() -> None:
    table = next(table for table in quality_tables("deepgin") if table.name == "deepgin_celebahq")
    notes = metric_notes([table], ["psnr", "ssim", "l1_hole"])
    assert notes[0] == "Published but not evaluated here: fid."
    assert notes[1].startswith("Published as lpips: the paper does not name its network")
    assert len(metric_notes([table], ["psnr", "ssim", "l1_hole", "fid"])) == 1
    assert metric_notes([], ["psnr"]) == []


def test_a_published_fid_of_another_number_of_images_is_named() -> None:
    """It has no cell in the column of FID, so a note tells why."""
    (table,) = [table for table in quality_tables("wavemix") if table.name == "wavemix_stl10"]
    assert metric_notes([table], ["ssim", "fid"], ["fid_60"]) == [
        "Published fid is of 10,000 images, and so not shown beside fid_60."
    ]
    assert metric_notes([table], ["ssim", "fid"], ["fid"]) == metric_notes([table], ["ssim", "fid"], ["fid_10000"]) == []
