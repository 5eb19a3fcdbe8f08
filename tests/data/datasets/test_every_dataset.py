import inspect
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from split_names import stems

from lit_inpaint.data import (
    ADE20K,
    FFHQ,
    CelebA,
    CelebAHQ,
    DemoPhotos,
    Folder,
    InpaintingData,
    ListFile,
    Oxford,
    Places2,
    TinyImageNet,
    TrainFolder,
    TrainMix,
)
from lit_inpaint.data.splits import Splits
from lit_inpaint.data.transforms import RandomResizedCrop, ResizedCenterCrop
from lit_inpaint.errors import UserError
from lit_inpaint.masks import Center

Write = Callable[..., Path]


@pytest.mark.parametrize("kind", [Folder, ADE20K, CelebA, CelebAHQ, DemoPhotos, FFHQ, Oxford, Places2, TinyImageNet])
def test_the_error_for_a_missing_or_empty_folder_has_the_expected_layout(kind: type[InpaintingData], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no images").mkdir()
    (tmp_path / "no images" / "a.txt").write_text("text")
    for name, fault in (("missing", "no folder"), ("empty", "no files"), ("no images", "no training images")):
        data = kind(root=str(tmp_path / name))
        with pytest.raises(UserError, match=re.escape(f"{fault} at {tmp_path / name}; put ")) as caught:
            data.setup("fit")
        assert "\n" not in str(caught.value)


def test_a_missing_root_is_refused() -> None:
    with pytest.raises(UserError, match=r"Folder needs --data\.root"):
        Folder().prepare_data()


@pytest.mark.parametrize("kind", [Folder, ADE20K, CelebA, CelebAHQ, DemoPhotos, FFHQ, Oxford, Places2, TinyImageNet])
@pytest.mark.parametrize("names", [(), ("a/b.png",), ("train/a.png", "test/b.png")], ids=str)
def test_an_archive_of_another_layout_is_read_or_refused(
    kind: type[InpaintingData], names: tuple[str, ...], write: Write, tmp_path: Path
) -> None:
    image = write("image.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for name in names:
            archive.writestr(name, image)
    with suppress(UserError):
        assert isinstance(kind(root=str(tmp_path / "other.zip")).splits(), Splits)


@pytest.mark.parametrize("kind", [ADE20K, CelebA, CelebAHQ, FFHQ, Oxford, Places2])
def test_other_folders_are_split_as_by_folder_with_a_note(kind: type[InpaintingData], write: Write, tmp_path: Path) -> None:
    for name in ("train/1.png", "val/2.png"):
        write(name)
    data = kind(root=str(tmp_path))
    assert stems(data.splits()) == [["1"], ["2"], ["2"]]
    assert re.search(
        r"\(no .*(ADEChallenge|img_align_celeba|CelebA-HQ-img|images1024|oxbuild|data_256_standard).*test is val\)",
        data.describe(),
    )
    assert "\n" not in data.describe()


@pytest.mark.parametrize("kind", [ADE20K, CelebAHQ, ListFile])
def test_a_data_set_with_its_own_arguments_accepts_all_others(kind: type[InpaintingData]) -> None:
    shared, own = (inspect.signature(each).parameters for each in (InpaintingData, kind))
    assert {name: own[name] for name in shared if name in own} == dict(shared)
    values = {
        "root": "r",
        "size": 8,
        "batch_size": 9,
        "masks": [Center()],
        "val_masks": [Center()],
        "train_transform": ResizedCenterCrop(),
    }
    values |= {
        "val_transform": RandomResizedCrop(),
        "val_images": 1,
        "test_images": 2,
        "val_crops": 3,
        "repeat": 4,
        "workers": 5,
    }
    values |= {"on_bad_file": "stop", "cache": True, "overfit_images": 7, "seed": 6, "mix": TrainMix([TrainFolder("f", 8, 1)])}
    assert values.keys() == shared.keys()
    data, same = kind(**values), Folder(**values)
    for name in values:
        assert getattr(data, name) == getattr(same, name)
