import pickle
import re
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lit_inpaint.data import CelebA, archives, file_index, list_image_files
from lit_inpaint.data.archives import ArchiveImages, list_archive
from lit_inpaint.data.list_image_files import list_images
from lit_inpaint.data.splits import random_split
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import UnreadableImageError

Write = Callable[..., Path]
Pack = Callable[..., Path]
KINDS = [("a.zip", zipfile.ZIP_STORED), ("a.zip", zipfile.ZIP_DEFLATED), ("a.tar", 0)]


@pytest.fixture
def images(write: Write) -> None:
    for number, name in enumerate(("b/1.png", "b/10.JPG", "b/2.bmp", "a.png", "é ü/3.png")):
        write(f"images/{name}", number, size=(24 + number, 20))


@pytest.mark.parametrize(("name", "method"), KINDS)
@pytest.mark.usefixtures("images")
def test_an_archive_has_the_images_of_the_unpacked_folder(name: str, method: int, pack: Pack, tmp_path: Path) -> None:
    unpacked, packed = list_images(tmp_path / "images"), list_archive(pack(name, method=method))
    assert list(packed.names()) == list(unpacked.names()) == ["a.png", "b/1.png", "b/10.JPG", "b/2.bmp", "é ü/3.png"]
    assert packed.digest() == unpacked.digest()
    assert packed.location(1) == f"{tmp_path / name}/b/1.png"
    for index in range(5):
        assert packed.name(index) == unpacked.name(index)
        assert torch.equal(packed.read(index), unpacked.read(index))
        assert packed.shape(index) == unpacked.shape(index) == packed.read(index).shape[1:]
    for part in ("train", "val", "test"):
        ours, theirs = getattr(random_split(packed, 0), part), getattr(random_split(unpacked, 0), part)
        assert list(ours.names()) == list(theirs.names())
        assert torch.equal(ours.read(0), theirs.read(0))


@pytest.mark.parametrize(("name", "method"), KINDS)
def test_an_archive_leaves_out_the_files_that_a_folder_leaves_out(
    name: str, method: int, pack: Pack, write: Write, tmp_path: Path
) -> None:
    for name_inside in ("a.png", ".b.png", "__MACOSX/a.png", "c/.d/e.png", "__f.png"):
        write(f"images/{name_inside}")
    (tmp_path / "images" / "notes.pdf").write_text("no image")
    assert (
        list(list_archive(pack(name, method=method)).names())
        == list(list_images(tmp_path / "images").names())
        == ["__f.png", "a.png"]
    )


class _Reads(Dataset[Tensor]):
    def __init__(self, files: ArchiveImages) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.files.read(index)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_several_processes_read_one_archive_at_once(context: str, pack: Pack, write: Write, tmp_path: Path) -> None:
    for number in range(20):
        write(f"images/{number:02}.png", number)
    files = list_archive(pack("a.zip"))
    alone = [files.read(index) for index in range(20)]  # opens the archive before there are other processes
    if context == "spawn":  # what such a process receives; starting one takes seconds
        assert torch.equal(pickle.loads(pickle.dumps(files)).read(7), alone[7])
        return
    loader = DataLoader(_Reads(files), batch_size=None, num_workers=2, multiprocessing_context=context)
    together = list(loader)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def _break(archive: Path, content: bytes, by: bytes) -> None:
    whole = archive.read_bytes()
    assert whole.count(content) == 1
    archive.write_bytes(whole.replace(content, by))


@pytest.mark.parametrize(("method", "reason"), [(zipfile.ZIP_STORED, "checksum"), (zipfile.ZIP_DEFLATED, "Error -3|checksum")])
def test_a_damaged_member_is_named_and_the_others_are_read(
    method: int, reason: str, pack: Pack, write: Write, tmp_path: Path
) -> None:
    for number in range(3):
        write(f"images/{number}.bmp", number)
    archive = pack("a.zip", method=method)
    whole = list_archive(archive)
    start, size, *_ = whole._entries[1].tolist()
    middle = archive.read_bytes()[start + 60 + size // 2 :][:20]
    _break(archive, middle, bytes(20))
    files = list_archive(archive)
    with pytest.raises(UnreadableImageError, match=f"{re.escape(str(archive))}/1\\.bmp: .*({reason}).*damaged") as caught:
        files.read(1)
    assert "\n" not in str(caught.value)
    assert torch.equal(files.read(2), list_images(tmp_path / "images").read(2))


@pytest.mark.usefixtures("images")
def test_an_archive_truncated_or_deleted_during_a_run_raises_a_one_line_error(pack: Pack) -> None:
    archive = pack("a.zip", method=zipfile.ZIP_STORED)
    files, others = list_archive(archive), list_archive(archive)
    archive.write_bytes(archive.read_bytes()[: int(files._entries[0, 0]) + 60])
    with pytest.raises(UnreadableImageError, match=r"a\.png: the archive ends within it"):
        files.read(0)
    archive.unlink()
    with pytest.raises(UnreadableImageError, match=r"a\.png: .*No such file"):
        others.read(0)


@pytest.mark.parametrize(("name", "method"), KINDS)
@pytest.mark.usefixtures("images")
def test_a_truncated_archive_is_refused(name: str, method: int, pack: Pack) -> None:
    archive = pack(name, method=method)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 3])
    with pytest.raises(UserError, match=rf"^{re.escape(str(archive))} is no whole archive \(.*\); copy or fetch it again$"):
        list_archive(archive)


@pytest.mark.parametrize("rest", [0, 1, 200, 511])
def test_a_tar_that_ends_between_two_members_is_refused(rest: int, write: Write, tmp_path: Path) -> None:
    """Or within a header: `tarfile` takes both for the end."""
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as content:  # one block before each member
        for number in range(3):
            content.add(write(f"images/{number}.png", number), f"{number}.png")
    second = int(list_archive(archive)._entries[1, 0]) - tarfile.BLOCKSIZE
    whole = archive.read_bytes()
    for damaged in (whole[: second + rest], whole[: second + rest] + b"?" * (len(whole) - second - rest)):
        archive.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"^{re.escape(str(archive))} is no whole archive \(.*end mark at byte {second:,}"):
            list_archive(archive)
    archive.write_bytes(whole[:second] + bytes(tarfile.BLOCKSIZE))
    assert list(list_archive(archive).names()) == ["0.png"]


def test_hard_links_in_a_tar_are_images(write: Write, tmp_path: Path) -> None:
    for number in range(2):
        write(f"images/{number}.png", number)
    (tmp_path / "images" / "b.png").hardlink_to(tmp_path / "images" / "1.png")
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as content:
        for name in ("0.png", "1.png", "b.png"):
            content.add(tmp_path / "images" / name, name)
        link = tarfile.TarInfo("c.png")
        link.type, link.linkname = tarfile.LNKTYPE, "b.png"
        content.addfile(link)
        assert content.getmember("b.png").islnk()
    files, unpacked = list_archive(archive), list_images(tmp_path / "images")
    assert list(files.names()) == ["0.png", "1.png", "b.png", "c.png"]
    assert torch.equal(files.read(2), unpacked.read(1))
    assert torch.equal(files.read(3), unpacked.read(1))
    assert not torch.equal(files.read(2), files.read(0))
    with tarfile.open(archive, "w") as content:
        content.addfile(link)
    with pytest.raises(UserError, match=r"no whole archive \('c\.png' links to 'b\.png', which is not in it\)"):
        list_archive(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_line_break_in_a_name_makes_no_second_line(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as content:
        content.writestr("a\n.png", b"x")
    with pytest.raises(UserError, match="has to be unpacked") as caught:
        list_archive(tmp_path / "a.zip")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("images")
def test_unsupported_compression_is_refused_by_name(pack: Pack) -> None:
    with pytest.raises(UserError, match=r"a\.zip has to be unpacked, .* method \(number 12\)"):
        list_archive(pack("a.zip", method=zipfile.ZIP_BZIP2))
    archive = pack("a.zip", method=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # the flag that says it is encrypted
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"^\S+a\.zip has to be unpacked, .+ is encrypted$"):
        list_archive(archive)


@pytest.mark.parametrize(("suffix", "command"), [(".tar.gz", "tar -xzf"), (".tgz", "tar -xzf"), (".tar.bz2", "tar -xjf")])
def test_the_error_for_a_compressed_tar_has_the_unpack_command(suffix: str, command: str, tmp_path: Path) -> None:
    path = tmp_path / f"img_align_celeba{suffix}"
    path.write_bytes(b"compressed")
    for root in (tmp_path, path):
        with pytest.raises(
            UserError, match=re.escape(f"has to be unpacked, its images cannot be read in place: {command} {path}")
        ):
            CelebA(str(root)).splits()


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_of_two_members_with_one_name_the_later_is_used(suffix: str, write: Write, tmp_path: Path) -> None:
    first, second = write("1.png", 1), write("2.png", 2)
    archive = tmp_path / f"twice{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as content:
            content.write(first, "a.png")
            with pytest.warns(UserWarning, match="Duplicate"):
                content.write(second, "a.png")
    else:
        with tarfile.open(archive, "w") as packed:
            packed.add(first, "a.png")
            packed.add(second, "a.png")
    files = list_archive(archive)
    assert len(files) == 1
    assert torch.equal(files.read(0), list_images(tmp_path).read(1))


def test_long_headers_and_long_names_are_read(write: Write, tmp_path: Path) -> None:
    image = write("1.png", 1)
    name = "/".join(["folder" * 6] * 5) + "/1.png"
    with zipfile.ZipFile(tmp_path / "extra.zip", "w") as content:
        member = zipfile.ZipInfo(name)
        member.extra = b"\xfe\xca\xc8\x00" + bytes(200)
        content.writestr(member, image.read_bytes())
    with tarfile.open(tmp_path / "long.tar", "w", format=tarfile.GNU_FORMAT) as packed:
        packed.add(image, name)
    with tarfile.open(tmp_path / "pax.tar", "w", format=tarfile.PAX_FORMAT) as packed:
        packed.add(image, f"{name}é.png")
    for archive in ("extra.zip", "long.tar", "pax.tar"):
        files = list_archive(tmp_path / archive)
        assert files[0].as_posix().startswith(f"{tmp_path / archive}/{name}")
        assert torch.equal(files.read(0), list_images(tmp_path).read(0))


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_a_long_list_is_cached_until_the_archive_changes(
    kind: str, pack: Pack, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_INPAINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(list_image_files, "MIN_INDEXED_FILES", 2)
    monkeypatch.setattr(file_index, "_MIN_AGE_S", 0.0)
    for number in range(2):
        write(f"images/{number}.png", number)
    archive = pack(kind)
    first = list_archive(archive)
    passed: list[Path] = []
    for name in ("_zip_members", "_tar_members"):
        whole = getattr(archives, name)
        monkeypatch.setattr(archives, name, lambda path, whole=whole: (passed.append(path), whole(path))[1])
    again = list_archive(archive)
    assert not passed
    assert again == first
    assert torch.equal(again.read(1), first.read(1))
    write("images/2.png", 2)
    assert len(list_archive(pack(kind))) == 3
    assert passed == [archive]


def test_listing_a_tar_takes_little_memory(tmp_path: Path) -> None:
    """Two million headers at a kilobyte each would not fit beside a network."""
    archive = tmp_path / "many.tar"
    with tarfile.open(archive, "w") as content:
        for number in range(1000):
            content.addfile(tarfile.TarInfo(f"{number:04}.png"))
    tracemalloc.start()
    try:
        assert sum(1 for _ in archives._tar_members(archive)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_an_archive_without_images_is_empty(name: str, pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.pdf").write_text("no image")
    archive = pack(name)
    assert len(list_archive(archive)) == 0
    with pytest.raises(UserError, match=re.escape(f"CelebA: no training images at {archive}; put img_align_celeba/")):
        CelebA(str(archive)).setup("fit")


def test_a_member_that_unpacks_to_more_than_the_limit(pack: Pack, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deflate packs zeros a thousand to one."""
    write("images/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2**20))
    files = list_archive(pack("a.zip"))
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**20)
    for read in (files.read, files.shape):
        with pytest.raises(UnreadableImageError, match=r"a\.zip/a\.png: it unpacks to more than 1,048,576 bytes"):
            read(0)


def test_a_zip_with_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as content:
        content.writestr(zipfile.ZipInfo("a.png"), b"x")
    damaged = bytearray((tmp_path / "a.zip").read_bytes())
    place = damaged.index(b"PK\1\2")
    damaged[place + 28 : place + 34] = bytes(4) + (5).to_bytes(2, "little")  # the name becomes a comment
    (tmp_path / "a.zip").write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.zip is no whole archive"):
        list_archive(tmp_path / "a.zip")
