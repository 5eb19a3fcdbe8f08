from pathlib import Path

import pytest

from lit_inpaint.data.datasets.folder_layouts import file_numbers
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
def test_file_numbers(name: str, number: int) -> None:
    assert file_numbers(ImageFiles.from_names(Path("top"), [name, "12.jpg"])).tolist() == [number, 12]
