import base64
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from lit_inpaint.data.datasets.stanford_cars import StanfordCars
from lit_inpaint.data.splits import Splits
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import read_image

Write = Callable[..., Path]
Corners = tuple[int, int, int, int]
pytestmark = pytest.mark.filterwarnings("ignore:.*of the 16,185 official images")


def annotate(path: Path, names: Sequence[str], corners: Sequence[Corners], column: str = "fname") -> None:
    """Write a box file as the authors of the set do: a structure with fields of small integers and text."""
    fields = [*(f"bbox_{corner}" for corner in ("x1", "y1", "x2", "y2")), "class", column]
    table = np.zeros((1, len(names)), [(field, object) for field in fields])
    for row, (name, box) in enumerate(zip(names, corners, strict=True)):
        table[0, row] = (*(np.uint16(corner) for corner in box), np.uint8(1), name)
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": table, "class_names": np.array(["a"], object)})


def images_by_name(splits: Splits) -> dict[str, torch.Tensor]:
    parts = {id(part): part for part in (splits.train, splits.val, splits.test)}.values()
    return {
        part.location(index).rsplit("/", 2)[-2] + "/" + part.name(index).rsplit("/", 1)[-1]: part.read(index)
        for part in parts
        for index in range(len(part))
    }


LAYOUTS = {
    "official": ("cars_train", "devkit/cars_train_annos.mat", "cars_test", "devkit/cars_test_annos.mat"),
    "torchvision": (
        "stanford_cars/cars_train",
        "stanford_cars/devkit/cars_train_annos.mat",
        "stanford_cars/cars_test",
        "stanford_cars/cars_test_annos_withlabels.mat",
    ),
    "folders in themselves": (
        "cars_train/cars_train",
        "car_devkit/devkit/cars_train_annos.mat",
        "cars_test/cars_test",
        "car_devkit/devkit/cars_test_annos.mat",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cars_of_both_folders_are_cropped_and_split_together(write: Write, tmp_path: Path, layout: str) -> None:
    """Boxes count from 1 and include both corners: (11, 6)-(20, 12) is ten wide and seven high."""
    train, train_boxes, test, test_boxes = LAYOUTS[layout]
    names = [f"{number:05}.jpg" for number in range(1, 16)]
    for folder, boxes, first in ((train, train_boxes, 0), (test, test_boxes, 100)):
        for number, name in enumerate(names):
            write(f"{folder}/{name}", first + number, size=(40, 30))
        annotate(tmp_path / boxes, names, [(11, 6, 20, 12)] * 14 + [(1, 1, 40, 30)])
    splits = StanfordCars(str(tmp_path)).splits()
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [18, 6, 6]
    cut = "square crops of the cars, 2 of them reduced to the image's shorter side"
    assert splits.note == f"{cut}; 30 of the 16,185 official images; random split 60:20:20, seed 0"
    cars = images_by_name(splits)
    assert len(cars) == 30
    for folder in (train, test):
        key = folder.rsplit("/", 1)[-1]
        image = read_image(tmp_path / folder / names[3])
        assert torch.equal(cars[f"{key}/00004"], image[:, 3:13, 10:20])
        image = read_image(tmp_path / folder / names[14])
        assert torch.equal(cars[f"{key}/00015"], image[:, :, 5:35])


@pytest.mark.parametrize("box_file", ["cars_annos.mat", "devkit/cars_annos.mat"])
def test_the_single_folder_of_all_cars_is_read(write: Write, tmp_path: Path, box_file: str) -> None:
    names = [f"car_ims/{number:06}.jpg" for number in range(1, 5)]
    for number, name in enumerate(names):
        write(name, number, size=(40, 30))
    annotate(tmp_path / box_file, names, [(number, 1, number + 9, 10) for number in range(1, 5)], "relative_im_path")
    splits = StanfordCars(str(tmp_path)).splits()
    assert "4 of the 16,185 official images" in splits.note
    assert torch.equal(images_by_name(splits)["car_ims/000003"], read_image(tmp_path / names[2])[:, :10, 2:12])


def test_one_car_is_read(write: Write, tmp_path: Path) -> None:
    """With one box, the file has a scalar in place of a list."""
    write("car_ims/1.jpg", size=(40, 30))
    annotate(tmp_path / "cars_annos.mat", ["car_ims/1.jpg"], [(1, 1, 10, 10)], "relative_im_path")
    with pytest.warns(UserWarning, match="only image"):
        assert StanfordCars(str(tmp_path)).splits().train.read(0).shape == (3, 10, 10)


@pytest.mark.parametrize("with_train", [False, True])
def test_without_boxes_whole_images_are_used_with_a_note(write: Write, tmp_path: Path, with_train: bool) -> None:
    for number in range(4):
        write(f"cars_train/{number}.jpg", number, size=(40, 30))
        write(f"cars_test/{number}.jpg", number, size=(40, 30))
    if with_train:
        annotate(tmp_path / "devkit" / "cars_train_annos.mat", [f"{n}.jpg" for n in range(4)], [(1, 1, 5, 5)] * 4)
    splits = StanfordCars(str(tmp_path)).splits()
    assert {image.shape for image in images_by_name(splits).values()} == {(3, 30, 40)}
    assert len(images_by_name(splits)) == 8
    without = "cars_test/" if with_train else "cars_train and cars_test/"
    assert splits.note.startswith(f"whole images, as there are no boxes for {without}; random split")
    assert splits.fallback == f"whole images, as there are no boxes for {without}"


def test_missing_images_with_boxes_are_counted_and_named(write: Write, tmp_path: Path) -> None:
    write("car_ims/1.jpg")
    annotate(tmp_path / "cars_annos.mat", [f"car_ims/{n}.jpg" for n in range(1, 4)], [(1, 1, 5, 5)] * 3, "relative_im_path")
    with pytest.raises(
        UserError, match=r"2 of 3 images in .*cars_annos\.mat are not in .*car_ims \(2\.jpg, 3\.jpg\)"
    ) as caught:
        StanfordCars(str(tmp_path)).splits()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["text", "other", "cut"])
def test_the_error_for_a_broken_box_file_is_one_line(write: Write, tmp_path: Path, content: str) -> None:
    write("car_ims/1.jpg")
    path = tmp_path / "cars_annos.mat"
    if content == "text":
        path.write_text("<html>not found</html>")
    elif content == "other":
        savemat(path, {"annotations": np.zeros(3)})
    else:
        annotate(path, ["car_ims/1.jpg"], [(1, 1, 5, 5)], "relative_im_path")
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=re.escape(f"{path} is not the file of boxes")) as caught:
        StanfordCars(str(tmp_path)).splits()
    assert "\n" not in str(caught.value)


def test_a_box_without_width_is_refused(write: Write, tmp_path: Path) -> None:
    for n in (1, 2):
        write(f"car_ims/{n}.jpg")
    annotate(tmp_path / "cars_annos.mat", ["car_ims/1.jpg", "car_ims/2.jpg"], [(1, 1, 5, 5), (9, 1, 8, 5)], "relative_im_path")
    with pytest.raises(UserError, match=r"boxes without width or height, such as that of 2\.jpg"):
        StanfordCars(str(tmp_path)).splits()


@pytest.mark.parametrize("name", ["car_ims.tgz", "cars_train.tgz"])
def test_the_error_for_a_packed_archive_has_the_unpack_command(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"tar -xzf .*{name}"):
        StanfordCars(str(tmp_path)).splits()


def test_any_other_folder_is_split_as_by_folder_with_a_note(write: Write, tmp_path: Path) -> None:
    for name in ("train/1.png", "val/2.png"):
        write(name)
    assert re.search(r"\(no car_ims/ or cars_train/, .*test is val\)", StanfordCars(str(tmp_path)).describe())


_ENDS_THE_PROCESS = (  # a box file that a fuzz run changed; SciPy 1.17 reads memory that is not its own, and the process ends
    b"c-rll-)h1z6vorhj>$yy4bB5NY2zQHcir7!6=8Z^BGfIQNzownZG2SY2<S>LWHN^E9XK3Ll8@iVcbPPqy(h0U?1hvjvzMh@<uqLhv(%e)OoiUc"
    b"vddhNRxy1DLleCtKBh2=2ZMMxA|CP)`$c(gY0Hj7z}TamPqrW2Rp55dw(sV%ZK0Gl!bq*Q?w!v%?tX52lUwt0muGUF6~cV6#X^@^8J(fu2m9(l"
    b"$*V8;5347iV|MoG*Z2(FJXPE6VXsi1HTqVK-n-B@D|!5vzVS!;Yx9ec-%a^(<abkk{X5MM3^2d|0}L?000Rs#zyJdbFu(u<3^2gBzkkdlM`~TI"
)


def test_a_box_file_that_ends_the_process_which_reads_it_is_one_line(write: Write, tmp_path: Path) -> None:
    write("car_ims/0.png")
    (tmp_path / "cars_annos.mat").write_bytes(zlib.decompress(base64.b85decode(_ENDS_THE_PROCESS)))
    with pytest.raises(UserError, match=r"cars_annos\.mat is not the file of boxes .* or is broken: get it again"):
        StanfordCars(str(tmp_path)).splits()
