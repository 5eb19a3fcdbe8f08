import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_inpaint.data import Folder, NativeSize
from lit_inpaint.data.manifest import Manifest
from lit_inpaint.masks import Center, FreeForm, MaskRatio, MaskSource, Mixture, RandomFromFolder

Write = Callable[..., Path]


@pytest.fixture
def root(write: Write, tmp_path: Path) -> Path:
    for i in range(3):
        write(f"images/val/{i}.png", i)
    return tmp_path / "images"


def _manifest(root: Path, **options: Any) -> Manifest:
    data = Folder(str(root), **{"size": 16, "workers": 0, "val_masks": [Center(4), FreeForm()], **options})
    data.setup("validate")
    return data.manifest("val")


def test_every_sample_has_a_line(root: Path, tmp_path: Path) -> None:
    manifest = _manifest(root, val_crops=2)
    manifest.write(tmp_path / "manifest.csv")
    text = (tmp_path / "manifest.csv").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[0] == "name,sample,masks,size"
    assert len(lines) == 1 + 3 * 2 * 2
    assert lines[1:4] == ["0 @0 #0,0,0,16", "0 @0 #1,1,1,16", "1 @0 #0,2,0,16"]
    assert "# masks 0: Center(size=4)" in text
    assert manifest.digest == hashlib.sha256(text.encode()).hexdigest()


def test_names_equal_those_of_the_samples(root: Path) -> None:
    data = Folder(str(root), size=16, workers=0, val_crops=2, batch_size=5)
    data.setup("validate")
    shown = [name for batch in data.val_dataloader() for name in batch["name"]]
    lines = data.manifest("val").text.splitlines()
    assert [line.split(",")[0] for line in lines if line[0] != "#"][1:] == shown


def test_the_same_samples_have_the_same_hash_in_another_folder(root: Path, tmp_path: Path) -> None:
    here = _manifest(root).digest
    (tmp_path / "elsewhere").mkdir()
    assert _manifest(root.rename(tmp_path / "elsewhere" / "images")).digest == here


def test_a_name_that_is_not_utf_8_is_listed(write: Write, tmp_path: Path) -> None:
    path = write("images/val/0.png")
    path.rename(path.with_name(os.fsdecode(b"caf\xe9.png")))
    manifest = _manifest(tmp_path / "images")
    manifest.write(tmp_path / "manifest.csv")
    content = (tmp_path / "manifest.csv").read_bytes()
    assert b"\ncaf\xe9 #0,0,0,16\n" in content
    assert hashlib.sha256(content).hexdigest() == manifest.digest


@pytest.mark.parametrize("wrap", [lambda source: source, MaskRatio, lambda source: Mixture((Center(4), source))])
def test_mask_files_are_part_of_the_hash(root: Path, write: Write, wrap: Callable[[RandomFromFolder], MaskSource]) -> None:
    def digest() -> str:
        return _manifest(root, val_masks=[wrap(RandomFromFolder(str(folder)))]).digest

    folder = write("masks/0.png", 0).parent
    before = digest()
    assert digest() == before
    write("masks/1.png", 1)
    assert digest() != before


def test_different_samples_have_different_hashes(root: Path, write: Write) -> None:
    others: list[dict[str, Any]] = [{}, {"seed": 1}, {"size": 8}, {"val_masks": [Center(5), FreeForm()]}, {"val_images": 2}]
    digests = {_manifest(root, **options).digest for options in others}
    write("images/val/9.png", 9)
    assert len(digests | {_manifest(root).digest}) == 6


def test_native_sizes_are_listed(root: Path, write: Write) -> None:
    write("images/val/1.png", 1, size=(40, 30))
    manifest = _manifest(root, val_transform=NativeSize(multiple=4), val_crops=2)
    lines = [line for line in manifest.text.splitlines() if not line.startswith("#")]
    assert [line.rpartition(",")[2] for line in lines[1:]] == ["24x20", "24x20", "40x28", "40x28", "24x20", "24x20"] * 2
    assert "# transform: NativeSize(multiple=4, max_size=None)" in manifest.text
    before = manifest.digest
    write("images/val/2.png", 2, size=(24, 24))
    assert _manifest(root, val_transform=NativeSize(multiple=4), val_crops=2).digest != before


def test_an_unreadable_header_is_listed_as_such(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lit_inpaint.data.unreadable_images.MAX_VERIFIED_FILES", 0
    )  # a large set, whose files are checked when read
    (root / "val" / "1.png").write_bytes(b"nothing")
    lines = _manifest(root, val_transform=NativeSize()).text.splitlines()
    assert [line.rpartition(",")[2] for line in lines[-6:]] == ["24x20"] * 2 + ["unreadable"] * 2 + ["24x20"] * 2
