from collections.abc import Callable
from pathlib import Path

from split_names import stems

from lit_inpaint.data import DemoPhotos

Write = Callable[..., Path]


def test_demo_photos_exist_and_none_is_in_two_splits() -> None:
    train, val, test = stems(DemoPhotos().splits())
    assert len(train) == 7
    assert val == test == ["chelsea", "coffee"]
    assert not set(train) & set(val)
    assert {"motorcycle_left", "motorcycle_right"} <= set(train)


def test_demo_photos_with_a_root_is_a_folder(write: Write, tmp_path: Path) -> None:
    write("train/1.png")
    write("val/2.png")
    data = DemoPhotos(str(tmp_path))
    assert stems(data.splits()) == [["1"], ["2"], ["2"]]
    assert (data.repeat, data.val_crops, data.cache) == (1, 1, False)
