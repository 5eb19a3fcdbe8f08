"""Files that are read whole: neither pipes nor devices, nor larger than expected."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_inpaint.storage import image_decode
from lit_inpaint.storage.image_decode import UnreadableImageError, read_image, read_metadata, read_pixels, read_shape
from lit_inpaint.storage.regular_file import read_regular_file

READERS = (read_image, read_pixels, read_shape)


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_a_device_and_a_folder_are_no_images(read: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe without a writer would never end, a device would fill the memory."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name, problem in (("pipe", "not a regular file"), ("device", "not a regular file"), ("folder", "Is a directory")):
        with pytest.raises(UnreadableImageError, match=rf"^cannot read \S+{name}.png as an image \(.*{problem}"):
            read(tmp_path / f"{name}.png")
        assert read_metadata(tmp_path / f"{name}.png") == {}


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(image_decode.MAX_FILE_BYTES + 1)
    for read in READERS:
        with pytest.raises(UnreadableImageError, match=r"large.png as an image .*1,073,741,825 bytes, more than 1,073,741,824"):
            read(tmp_path / "large.png")


def test_a_file_within_the_limit_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_regular_file(tmp_path / "a", 3) == b"abc"
    with pytest.raises(OSError, match="3 bytes, more than 2"):
        read_regular_file(tmp_path / "a", 2)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic links"):
        read_regular_file(tmp_path / "loop", 2)
