"""Mutated files for the fuzz runs: images, zip and tar archives, checkpoints, YAML, JSON and plain text.

Every function takes a `random.Random`, and its result depends on nothing else.
"""

from __future__ import annotations

import functools
import io
import json
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, PngImagePlugin

SIDES = (1, 2, 7, 16, 24, 31)
"""Sides of generated images in pixels."""
CANARY = "fuzz_canary"
"""Module that no file may cause to be imported."""
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_GIANT = (0, 1, 65_500, 65_535, 20_000, 100_000, 2**31 - 1, 2**32 - 1)


def mutate_bytes(rng: Random, content: bytes, other: bytes = b"") -> bytes:
    """Apply one to three general mutations: flips, truncation, splices, repeats, and extreme integers."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(9)
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.4:
            at = min(at, rng.randrange(64))  # headers decide most
        end = min(len(data), at + rng.choice((1, 2, 4, 16, 100)))
        if kind == 0:
            for _ in range(rng.randint(1, 20)):
                if data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        elif kind == 4:
            data[at:end] = bytes(rng.choice((0, 255, 127)) for _ in range(end - at))
        elif kind == 5:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        elif kind == 6 and other:
            cut = rng.randrange(len(other))
            data[at:] = other[cut:]
        elif kind == 7:
            size, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
            value = rng.choice(_EXTREMES) % 2 ** (8 * size)
            data[at : at + size] = value.to_bytes(size, order)
        else:
            data += rng.randbytes(rng.choice((1, 1000)))
    return bytes(data)


# Images


def random_pixels(rng: Random, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray[Any, Any]:
    high = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    values = np.frombuffer(rng.randbytes(8 * int(np.prod(shape))), np.uint64) % (int(high) + 1)
    return values.astype(dtype).reshape(shape)


def image(rng: Random) -> tuple[bytes, str, tuple[int, int]]:
    """Make a valid image file: its bytes, suffix and (width, height)."""
    size = width, height = rng.choice(SIDES), rng.choice(SIDES)
    suffix, modes, options = rng.choice(_FORMATS)
    mode = rng.choice(modes)
    channels = {"RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "LA": 2}.get(mode)
    picture: Image.Image
    if mode == "I;16":
        picture = Image.fromarray(random_pixels(rng, (height, width), np.uint16))
    elif mode == "I":
        picture = Image.fromarray(random_pixels(rng, (height, width), np.int32))
    elif mode == "F":
        picture = Image.fromarray(random_pixels(rng, (height, width), np.float32))
    elif mode in ("1", "P"):
        picture = Image.fromarray(random_pixels(rng, (height, width))).convert(mode)
    else:
        picture = Image.frombytes(mode, size, rng.randbytes(width * height * (channels or 1)))
    chosen: dict[str, Any] = {name: rng.choice(values) for name, values in options.items()}
    if suffix in (".jpg", ".png", ".webp", ".tif") and rng.random() < 0.4:
        exif = Image.Exif()
        exif[0x0112] = rng.randint(1, 8) if suffix == ".tif" else rng.randrange(10)
        exif[0x010E] = "x" * rng.choice((0, 10, 5000))
        chosen["exif"] = exif.tobytes()
    if suffix in (".jpg", ".png", ".tif", ".webp") and rng.random() < 0.2:
        chosen["icc_profile"] = b"\0" * 16 + b"RGB " + rng.randbytes(rng.choice((0, 100, 3000)))
    if chosen.pop("frames", 1) > 1:
        chosen |= {"save_all": True, "append_images": [picture.transpose(Image.Transpose.ROTATE_180)]}
    if mode == "P" and suffix in (".png", ".gif") and rng.random() < 0.5:
        chosen["transparency"] = rng.randrange(256)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture.save(file, **chosen)
    return file.getvalue(), suffix, size


_FORMATS: tuple[tuple[str, tuple[str, ...], dict[str, tuple[Any, ...]]], ...] = (
    (".png", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), {"format": ("PNG",), "frames": (1, 1, 2)}),
    (".jpg", ("L", "RGB", "CMYK"), {"format": ("JPEG",), "progressive": (True, False), "quality": (30, 95)}),
    (".jpg", ("RGB",), {"format": ("MPO",), "frames": (2,)}),
    (".webp", ("RGB", "RGBA"), {"format": ("WEBP",), "lossless": (True, False), "frames": (1, 2)}),
    (".gif", ("L", "P", "RGB"), {"format": ("GIF",), "frames": (1, 2)}),
    (".bmp", ("1", "L", "P", "RGB", "RGBA"), {"format": ("BMP",)}),
    (
        ".tif",
        ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
        {"format": ("TIFF",), "compression": (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"), "frames": (1, 2)},
    ),
    (".avif", ("RGB", "RGBA"), {"format": ("AVIF",), "quality": (40,)}),
    (".png", ("1", "L", "RGB"), {"format": ("PPM",)}),  # mislabeled from here on
    (".jpg", ("RGB",), {"format": ("TGA", "PCX", "ICO", "SGI", "EPS", "DDS", "PDF", "IM")}),
)


@functools.cache
def bombs() -> tuple[bytes, ...]:
    """Small files that decode to up to 179 million pixels, or claim more."""
    found = []
    for side in (13_000, 30_000):
        rows = zlib.compress(bytes((side + 7) // 8 + 1) * side, 9)
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        found.append(PNG_START + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b""))
    for mode, format in (("L", "WEBP"), ("P", "GIF"), ("1", "TIFF"), ("L", "JPEG")):
        file = io.BytesIO()
        Image.new(mode, (9_000, 9_000)).save(file, format=format, **({"compression": "group4"} if format == "TIFF" else {}))
        found.append(file.getvalue())
    text = PngImagePlugin.PngInfo()
    text.add_text("x", "y" * 20_000_000, zip=True)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format="PNG", pnginfo=text)
    found.append(file.getvalue())
    return tuple(found)


PNG_START = b"\x89PNG\r\n\x1a\n"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def mutate_png(rng: Random, content: bytes) -> bytes:
    """Edit, remove, repeat or insert chunks; their checksums stay right, so that decoders read on."""
    chunks, at = list[tuple[bytes, bytes]](), 8
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    for _ in range(rng.randint(1, 3)):
        if not chunks:
            break
        place = rng.randrange(len(chunks))
        kind, data = chunks[place]
        action = rng.randrange(6)
        if action == 0 and chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13:
            header = list(struct.unpack(">IIBBBBB", chunks[0][1]))
            field = rng.randrange(7)
            header[field] = rng.choice(_GIANT) if field < 2 else rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 200))
            chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *header))
        elif action == 1:
            del chunks[place]
        elif action == 2:
            chunks.insert(rng.randrange(len(chunks) + 1), (kind, data))
        elif action == 3:
            chunks[place] = (kind, mutate_bytes(rng, data))
        elif action == 4:
            name = rng.choice(
                (b"eXIf", b"iCCP", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iTXt", b"pHYs", b"PLTE", b"sRGB")
            )
            chunks.insert(rng.randrange(len(chunks) + 1), (name, rng.randbytes(rng.choice((0, 1, 6, 13, 26, 300)))))
        else:
            chunks[place] = (rng.choice((b"IEND", b"IDAT", b"PLTE", b"abcd", b"\0\0\0\0")), data)
    return PNG_START + b"".join(png_chunk(kind, data) for kind, data in chunks)


def mutate_jpeg(rng: Random, content: bytes) -> bytes:
    """Edit, remove, repeat or insert segments before the scan, and the frame's dimensions."""
    segments, at = list[bytes](), 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segments.append(content[at:end])
        at = end
    rest = content[at:]
    for _ in range(rng.randint(1, 3)):
        if not segments:
            break
        place = rng.randrange(len(segments))
        action = rng.randrange(6)
        if action == 0:
            for number, segment in enumerate(segments):
                if 0xC0 <= segment[1] <= 0xCF and segment[1] not in (0xC4, 0xC8, 0xCC):
                    sides = (rng.choice(_GIANT) % 65_536 for _ in range(2))
                    segments[number] = segment[:5] + struct.pack(">HH", *sides) + segment[9:]
        elif action == 1:
            del segments[place]
        elif action == 2:
            segments.insert(rng.randrange(len(segments) + 1), segments[place])
        elif action == 3:
            body = mutate_bytes(rng, segments[place][4:])[:65_000]
            segments[place] = segments[place][:2] + struct.pack(">H", len(body) + 2) + body
        elif action == 4:
            segments[place] = mutate_bytes(rng, segments[place])
        else:
            start = rng.choice(
                (b"Exif\0\0II*\0", b"Exif\0\0MM\0*", b"Exif", b"ICC_PROFILE\0\1\1", b"Adobe\0", b"MPF\0", b"JFIF\0")
            )
            body = start + rng.randbytes(rng.choice((0, 4, 100, 2000)))
            marker = rng.choice((0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDD))
            segments.insert(rng.randrange(len(segments) + 1), bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body)
    if rng.random() < 0.3:
        rest = mutate_bytes(rng, rest)
    return content[:2] + b"".join(segments) + rest


_SIZE_FIELDS: dict[str, tuple[tuple[int, str], ...]] = {
    ".gif": ((6, "<H"), (8, "<H")),
    ".bmp": ((10, "<I"), (14, "<I"), (18, "<i"), (22, "<i"), (28, "<H"), (30, "<I"), (46, "<I")),
    ".webp": ((4, "<I"), (16, "<I"), (24, "<I"), (26, "<H"), (28, "<H")),
}


def mutate_fields(rng: Random, content: bytes, suffix: str) -> bytes:
    """Set a field of a GIF, BMP, WebP or TIFF header to an extreme value; of a TIFF, any number of its directory."""
    data = bytearray(content)
    if suffix == ".tif":
        order = "<" if data[:2] == b"II" else ">"
        start = struct.unpack_from(f"{order}I", data, 4)[0]
        count = struct.unpack_from(f"{order}H", data, start)[0]
        entry = start + 2 + 12 * rng.randrange(max(1, count))
        offset, kind = rng.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
        place, form = entry + offset, order + kind
    elif suffix in _SIZE_FIELDS:
        place, form = rng.choice(_SIZE_FIELDS[suffix])
    else:
        return mutate_bytes(rng, content)
    size = struct.calcsize(form)
    data[place : place + size] = (rng.choice((*_EXTREMES, *_GIANT)) % 2 ** (8 * size)).to_bytes(
        size, "little" if form[0] == "<" else "big"
    )
    return bytes(data)


def broken_image(rng: Random) -> tuple[bytes, str, tuple[int, int]]:
    """Make a mutated image file: its bytes, a suffix that may be another format's, and the size before the mutation."""
    content, suffix, size = image(rng)
    chance = rng.random()
    if chance < 0.01:
        content = rng.choice(bombs())
    elif chance < 0.03:
        content = rng.choice((b"", b"\0", rng.randbytes(200), b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"P5\n1 1\n", PNG_START))
    elif content[:8] == PNG_START and chance < 0.6:
        content = mutate_png(rng, content)
    elif content[:2] == b"\xff\xd8" and chance < 0.6:
        content = mutate_jpeg(rng, content)
    elif chance < 0.6:
        content = mutate_fields(rng, content, suffix)
    elif chance < 0.95:
        content = mutate_bytes(rng, content, image(rng)[0])
    if rng.random() < 0.15:
        suffix = rng.choice((".png", ".jpg", ".gif", ".webp", ".tif", ".bmp", ".avif", ".PNG"))
    return content, suffix, size


# Archives

NAMES = (
    *("train/a.png", "val/a.png", "test/a.png", "a.png", "a/b/c.jpg", "../escape.png", "/absolute.png", "a/../../up.png"),
    *("C:\\windows.png", "..\\up.png", ".hidden.png", "__MACOSX/a.png", "a\n.png", "a\0b.png", "x" * 300 + ".png", "é.png"),
    *("train/", "list.txt", "nested.zip", "train/a", "a.png/b.png", "\udcff.png", " .png", "train//a.png", "./train/./b.png"),
)
"""Names of members, harmless and hostile."""


@functools.cache
def deflate_bomb(header: bytes = PNG_START, megabytes: int = 600) -> bytes:
    """Return raw deflate data that expands to `header` and zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(2**20)
    start = packer.compress(header) + packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    repeated = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it
    return start + repeated * (megabytes - 1) + packer.flush()


def zip_archive(rng: Random) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(rng.choice((0, 1, 3, 6))):
            member = zipfile.ZipInfo("x")
            member.filename = rng.choice(NAMES)
            member.compress_type = rng.choice((0, 8, 8, 8, 12, 14))
            member.external_attr = rng.choice((0, 0o644 << 16, 0o120777 << 16, 0o040755 << 16, 0xFFFFFFFF))
            content = broken_image(rng)[0] if rng.random() < 0.3 else image(rng)[0]
            if rng.random() < 0.05:
                content = b"../../../etc/passwd"
            try:
                archive.writestr(member, content)
            except UnicodeEncodeError:
                continue
    content = bytearray(file.getvalue())
    if rng.random() < 0.1:  # the name of a bomb, in place of the first member
        content = bytearray(zip_bomb(rng))
    if rng.random() < 0.7:
        _edit_zip_fields(rng, content)
    return mutate_bytes(rng, bytes(content)) if rng.random() < 0.4 else bytes(content)


def zip_bomb(rng: Random) -> bytes:
    """A member that expands to 600 MiB, with its true size or a small one in the directory."""
    packed, claimed, name = deflate_bomb(), rng.choice((600 * 2**20 + 8, 100)), b"train/a.png"
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), claimed, len(name), 0)
    local = b"PK\3\4" + fields + name + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def _edit_zip_fields(rng: Random, content: bytearray) -> None:
    """Set fields of members' headers, of the directory or of its end to extreme values, names to other bytes."""
    fields = {
        b"PK\1\2": ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4)),
        b"PK\5\6": ((10, 2), (12, 4), (16, 4)),
    }
    fields[b"PK\3\4"] = ((6, 2), (8, 2), (14, 4), (18, 4), (26, 2), (28, 2))
    signature = rng.choice(tuple(fields))
    places = [at for at in range(len(content) - 4) if content[at : at + 4] == signature] if len(content) < 1e5 else []
    if places:
        at = rng.choice(places)
        if signature == b"PK\1\2" and rng.random() < 0.3:
            content[at + 46 : at + 48] = rng.choice((b"\xff\xfe", b"..", b"/.", b"\0\0"))
            return
        offset, size = rng.choice(fields[signature])
        content[at + offset : at + offset + size] = (rng.choice(_EXTREMES) % 2 ** (8 * size)).to_bytes(size, "little")


def tar_archive(rng: Random) -> bytes:
    file = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogateescape") as archive:
        for _ in range(rng.choice((0, 1, 3, 6))):
            member = tarfile.TarInfo(rng.choice(NAMES).replace("\0", ""))
            member.type = rng.choice(
                (tarfile.REGTYPE,) * 6 + (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
            )
            member.linkname = rng.choice(("a.png", "train/a.png", "../../../etc/passwd", member.name))
            content = broken_image(rng)[0] if rng.random() < 0.3 else image(rng)[0]
            member.size = len(content) if member.isreg() else 0
            try:
                archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
            except (UnicodeEncodeError, ValueError):
                continue
    content = bytearray(file.getvalue())
    if rng.random() < 0.4 and len(content) > 1024:  # a header with another size or type, and a right checksum
        at = 512 * rng.randrange(len(content) // 512)
        form_field = rng.choice(
            ((124, b"77777777777\0"), (124, b"-0000000001\0"), (124, b"\xff" * 12), (156, b"L"), (156, b"x"), (156, b"S"))
        )
        content[at + form_field[0] : at + form_field[0] + len(form_field[1])] = form_field[1]
        total = sum(content[at : at + 148]) + 8 * 32 + sum(content[at + 156 : at + 512])
        content[at + 148 : at + 156] = f"{total:06o}\0 ".encode()
    return mutate_bytes(rng, bytes(content)) if rng.random() < 0.5 else bytes(content)


# Trees of plain data: checkpoints, YAML, JSON


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def strange_value(rng: Random) -> Any:
    """Return plain data of a type or size that a reader may not expect."""
    return rng.choice(
        (
            *(None, True, -1, 0, 10**9, 10**30, -(2**63), 1e308, float("nan"), float("inf"), -0.0, 1e-320),
            *(
                "",
                "x" * 5000,
                "nan",
                "../../../x",
                "/",
                "~root",
                "a\nb",
                "\x00",
                "é\u202e",
                "null",
                "1e5",
                "0x10",
                "a.b.c",
                "%s{}",
            ),
            *([], {}, [None], {"": ""}, {"class_path": None}, {"class_path": f"{CANARY}.Evil"}, {"class_path": "os.system"}),
            *(f"{CANARY}.Evil", {"class_path": "lit_inpaint.papers.LPINet", "init_args": []}, {"init_args": 3}, _deep(50)),
            *(
                {"class_path": ["a"]},
                {"class_path": "lit_inpaint.data.Folder"},
                [{"class_path": f"{CANARY}.Evil"}],
                [1, "a", None],
            ),
        )
    )


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def mutate_tree(rng: Random, tree: Any, strange: Callable[[Random], Any] = strange_value) -> Any:
    """Replace, remove, rename, swap and scale up to three nodes of nested dictionaries and lists, in place."""
    for _ in range(rng.randint(1, 3)):
        places = list(_places(tree))
        if not places:
            return strange(rng)
        parent, key = rng.choice(places)
        action = rng.randrange(8)
        if action <= 2:
            parent[key] = strange(rng)
        elif action == 3:
            del parent[key]
        elif action == 4 and isinstance(parent, dict):
            parent[rng.choice((str(key) + "x", str(key)[:-1], key, 3, None, "", "class_path", "init_args"))] = parent[key]
        elif action == 5:
            other, other_key = rng.choice(places)
            parent[key] = other.get(other_key) if isinstance(other, dict) else other[other_key : other_key + 1]
        elif action == 6 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            parent[key] *= rng.choice((-1, 0, 0.5, 1000, 10**12))
        elif isinstance(parent, list):
            parent += parent[:] * rng.choice((1, 20))
        else:
            parent[key] = [parent[key]]
    return tree


def copy_tree(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: copy_tree(value) for key, value in tree.items()}
    return [copy_tree(value) for value in tree] if isinstance(tree, list | tuple) else tree


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)
_YAML_TEXTS = (
    *(
        LAUGHS,
        f"{LAUGHS}data: {{init_args: {{masks: *j}}}}\n",
        "data: &x {init_args: *x}\n",
        "&a [*a]\n",
        "model: &m {a: *m}\n",
    ),
    *("[" * 3000, "{a: " * 2000, "- " * 5000, "seed: " + "9" * 6000, "seed: 2001-99-99", "seed: 1:99:99", "seed: !!int x"),
    *("seed: !!python/object/apply:os.system ['touch x']", f"x: !!python/name:{CANARY}.Evil", "? [a, b]\n: c", "? {a: b}\n: c"),
    *("seed:\t1", "\tseed: 1", "seed: 1\nseed: 2", "seed: !!binary aGk=", "seed: .nan", "ema: .inf", "seed: 0x" + "f" * 500),
    *(
        "base: a.yaml",
        "base: ../a.yaml",
        "base: [a.yaml]",
        "data: a.yaml",
        "data: missing.yaml",
        "base: /dev/null",
        "base: .",
        "base: 3",
    ),
    *(
        "<<: *x",
        "x: &x {y: 1}\nmodel:\n  <<: *x\n  <<: *x",
        "<<: 3",
        "<<: [1]",
        "x: &x {<<: *x}",
        "%YAML 9.9\n---\n",
        "--- 1\n--- 2\n",
    ),
    *(
        "",
        "\ufeff",
        "null",
        "3",
        "[]",
        "a",
        "---",
        "...",
        "\0",
        "seed: \x07",
        "1: 2",
        "null: 1",
        "true: 1",
        "[]: 1",
        "{}: 1",
        "1.5: {a: b}",
    ),
    *(
        "model:",
        "data:",
        "trainer:",
        "model: LPINet",
        "data: Folder",
        "model: []",
        "wandb: 3",
        "ema: {}",
        "callbacks: {}",
        "loggers: 3",
    ),
    *(
        "experiment: ../../x",
        "experiment: /x",
        "experiment: ''",
        "experiment: [a]",
        "init_from: ''",
        "init_from: ~nobody/x",
        "=: 1",
    ),
)


def yaml_file(rng: Random, tree: Any) -> bytes:
    """Make a mutated YAML file from a configuration, which stays as it is."""
    chance = rng.random()
    if chance < 0.3:
        text = rng.choice(_YAML_TEXTS)
        if rng.random() < 0.5:
            text = yaml.safe_dump(copy_tree(tree)) + text
        content = text.encode("utf-8", errors="surrogatepass")
    else:
        tree = mutate_tree(rng, copy_tree(tree))
        content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", errors="surrogatepass")
    if rng.random() < 0.3:
        content = mutate_bytes(rng, content)
    if rng.random() < 0.03:
        content = content.decode("utf-8", errors="replace").encode(
            rng.choice(("utf-16", "utf-16-le", "latin-1", "utf-32")), "replace"
        )
    return content


def json_file(rng: Random, tree: Any) -> bytes:
    """Make a mutated JSON file from a tree, which stays as it is."""
    chance = rng.random()
    if chance < 0.1:
        return rng.choice(
            (b"", b"[" * 100_000, b'{"a":' * 5000, b"NaN", b"1" * 6000, b'"\\ud800"', b"null", b"\xff\xfe", b"[]", b"{}")
        )
    content = json.dumps(mutate_tree(rng, copy_tree(tree)) if chance < 0.7 else tree).encode()
    return content if chance < 0.6 else mutate_bytes(rng, content)


def text_file(rng: Random, text: str) -> bytes:
    """Make a mutated text file: lines repeated, removed, replaced by hostile ones, or bytes changed."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        if lines:
            place = rng.randrange(len(lines))
            action = rng.randrange(5)
            if action == 0:
                del lines[place]
            elif action == 1:
                lines[place] = rng.choice(
                    ("../../../etc/passwd", "/dev/zero", "a\0b", "x" * 10_000, "~nobody/a.png", ".", "/", "é\udce9.png")
                )
            elif action == 2:
                cells = lines[place].replace(",", " , ").split(" ")
                cells[rng.randrange(len(cells))] = str(strange_value(rng))[:6000]
                lines[place] = " ".join(cells).replace(" , ", ",")
            elif action == 3:
                lines.insert(place, lines[rng.randrange(len(lines))])
            else:
                lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
    content = "\n".join([*lines, ""]).encode("utf-8", errors="surrogateescape")
    if rng.random() < 0.05:
        return content.decode("utf-8", errors="replace").encode(rng.choice(("utf-16", "utf-16-be", "utf-8-sig")))
    return mutate_bytes(rng, content) if rng.random() < 0.3 else content


# Checkpoints


class _Evil:
    """Pickles to a call; unpickling it would create the file `path`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({self.path!r}, 'w')",)


def strange_weight(rng: Random) -> Any:
    return rng.choice(
        (
            *(torch.zeros(()), torch.full((3,), float("nan")), torch.zeros(0, 5), torch.zeros(4, dtype=torch.int64)),
            *(
                torch.zeros(2, 2, dtype=torch.complex64),
                torch.zeros(3).to_sparse(),
                torch.zeros(2, 2).bfloat16(),
                torch.zeros(1).expand(10**9),
            ),
        )
    )


def mutate_checkpoint(rng: Random, content: dict[str, Any], flag: str) -> bytes:
    """Make a mutated checkpoint: its tree, its weights, its pickle, or its bytes.

    Args:
        rng: source of randomness.
        content: a valid checkpoint, which stays as it is.
        flag: a file that only executed code would create.
    """
    tree = copy_tree(content)
    chance = rng.random()
    if chance < 0.05:
        return rng.choice((pickle.dumps(_Evil(flag)), pickle.dumps({"state_dict": _Evil(flag)}), b"", b"PK\3\4", zip_bomb(rng)))
    if chance < 0.1:
        others = (
            {"state_dict": torch.nn.Linear(2, 2).state_dict()},
            torch.nn.Linear(2, 2).state_dict(),
            {"model": {"a": 1}, "epoch": 3},
            [1, 2],
            torch.zeros(3),
            {"lit_inpaint": 3, "state_dict": {}},
            {"lit_inpaint": {}, "state_dict": []},
            {"g": {"w": torch.zeros(3)}, 3: torch.zeros(3), ("a",): torch.zeros(2)},
        )
        return save(rng.choice(others))
    if chance < 0.45:
        tree["lit_inpaint"] = mutate_tree(rng, tree["lit_inpaint"])
    elif chance < 0.6:
        tree = mutate_tree(rng, tree, rng.choice((strange_value, strange_weight)))
    elif chance < 0.75:
        state = tree["state_dict"]
        for name in rng.sample(sorted(state), min(len(state), rng.randint(1, 4))):
            state[name] = rng.choice(
                (
                    strange_weight(rng),
                    strange_value(rng),
                    state[name] * float("nan"),
                    state[name].reshape(-1)[:1],
                    state[name].flatten(),
                )
            )
        if rng.random() < 0.3:
            state.pop(rng.choice(sorted(state)))
    try:
        content = save(tree)
    except Exception:  # such as a tree that pickle cannot write
        content = save(content)
    if chance >= 0.75 or rng.random() < 0.1:
        content = _edit_pickle(rng, content) if rng.random() < 0.5 else mutate_bytes(rng, content)
    return content


def save(tree: Any) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(tree, file)
    return file.getvalue()


def _edit_pickle(rng: Random, content: bytes) -> bytes:
    """Mutate the pickle inside a checkpoint's zip, whose checksums stay right; or leave a member out."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        left_out = rng.choice(old.namelist()) if rng.random() < 0.2 else ""
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                data = mutate_bytes(rng, data)
            if name != left_out:
                new.writestr(name, data)
    return file.getvalue()


def mutate_safetensors(rng: Random, content: bytes) -> bytes:
    """Edit the JSON header, or its length, or any byte."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, content)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    encoded = json.dumps(mutate_tree(rng, header)).encode()
    length = rng.choice((len(encoded), len(encoded), len(encoded), 0, 2**63, len(content) * 2, 10**8))
    return length.to_bytes(8, "little") + encoded + content[8 + size :]
