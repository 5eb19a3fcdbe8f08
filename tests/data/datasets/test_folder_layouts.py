from pathlib import Path

import pytest

from lit_inpaint.data.datasets.folder_layouts import numbers_of
from lit_inpaint.data.image_source import ImageFiles


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("000123.jpg", 123),
        ("a/b7.png", 7),
        ("face.jpg", -1),
        ("5.face.jpg", -1),
        ("999999999999999999.jpg", 10**18 - 1),
        ("9999999999999999999.jpg", -1),
        ("20240101123456789012.jpg", -1),
    ],
)
def test_numbers_of_names(name: str, number: int) -> None:
    assert numbers_of(ImageFiles.from_names(Path("top"), [name, "12.jpg"])).tolist() == [number, 12]
