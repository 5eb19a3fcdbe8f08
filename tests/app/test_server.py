from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from page_client import Client, encode, form, png
from PIL import Image

import lit_inpaint.app
from lit_inpaint.app.server import Limits, build
from lit_inpaint.storage.image_files import ImageFile, decode_image_file, encode_png

Array = np.ndarray[Any, Any]
PAGE = Path(lit_inpaint.app.__file__).parent / "page"


def alpha(image: Image.Image) -> Array:
    assert image.mode == "LA"
    return np.asarray(image)[..., 1]


def test_the_page_needs_no_other_server(client: Client) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        answer = client.request("GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)
        text = answer.body.decode().replace("http://www.w3.org/2000/svg", "")  # a name, which nothing fetches
        assert not re.findall(r"https?://|//[a-z]+\.[a-z]", text)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_methods_and_limits(client: Client) -> None:
    settings = client.request("GET", "/settings").body
    assert b'"key":"telea"' in settings
    assert b'"max_bytes":2000000' in settings


@pytest.mark.parametrize("method", ["telea", "edgeconnect"])
def test_fill_keeps_known_pixels(client: Client, pixels: Array, hole: Array, method: str) -> None:
    answer = client.post("/fill", picture=png(pixels), mask=png(hole), method=method)
    result = np.asarray(answer.image)
    assert (result[hole == 0] == pixels[hole == 0]).all()
    assert (result[hole > 0] != pixels[hole > 0]).any()
    assert float(answer.headers["x-seconds"]) > 0


def test_what_the_browser_paints_is_a_mask(client: Client, pixels: Array, hole: Array) -> None:
    """Red on black, with smooth borders."""
    painted = np.zeros((30, 40, 4), np.uint8)
    painted[..., 3] = 255
    painted[hole > 0, 0] = 255
    painted[9, 5:15, 0] = 120  # less than half covered
    result = np.asarray(client.post("/fill", picture=png(pixels), mask=png(painted), method="telea").image)
    assert (result[hole == 0] == pixels[hole == 0]).all()


def test_preview_is_turned_as_viewers_show_it(client: Client, pixels: Array) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = png(pixels, exif=exif)
    assert client.post("/preview", picture=picture).image.size == (30, 40)
    mask = np.zeros((40, 30), np.uint8)
    mask[:5, :5] = 255
    result = client.post("/fill", picture=picture, mask=png(mask), method="telea").image
    assert result.size == (30, 40)
    assert (np.asarray(result)[mask == 0] == np.rot90(pixels, -1)[mask == 0]).all()


def test_preview_of_formats_that_browsers_do_not_show(client: Client, pixels: Array) -> None:
    assert (np.asarray(client.post("/preview", picture=encode(Image.fromarray(pixels), "TIFF")).image) == pixels).all()


def test_an_animation_is_refused(client: Client, pixels: Array) -> None:
    """It has no known pixels that one PNG could keep."""
    frames = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    for kind in ("GIF", "WEBP", "PNG"):
        answer = client.post("/preview", picture=("a.gif", encode(frames[0], kind, save_all=True, append_images=frames[1:])))
        assert answer.status == 400
        assert answer.error.startswith("a.gif has 2 frames or pages")


def test_a_mask_of_several_frames_is_refused(client: Client, pixels: Array, hole: Array) -> None:
    """Each frame may be a mask."""
    frames = Image.fromarray(hole), Image.fromarray(255 - hole)
    for kind in ("GIF", "PNG", "TIFF"):
        mask = "m.gif", encode(frames[0], kind, save_all=True, append_images=frames[1:])
        answer = client.post("/fill", picture=png(pixels), mask=mask, method="telea")
        assert (answer.status, answer.error[:29]) == (400, "m.gif has 2 frames or pages; ")


@pytest.mark.parametrize("kind", ["gray", "gray 16", "RGBA", "RGB 16", "one bit"])
def test_channels_and_bits_stay(client: Client, pixels: Array, hole: Array, kind: str) -> None:
    wide = pixels[..., 0].astype(np.uint16) * 256 + 7
    picture = {
        "gray": lambda: png(pixels[..., 0]),
        "gray 16": lambda: png(wide),
        "RGBA": lambda: png(np.dstack([pixels, pixels[..., 0]])),
        "RGB 16": lambda: encode_png(ImageFile(pixels.astype(np.uint16) * 256 + 7)),
        "one bit": lambda: png(pixels[..., 0] > 127),
    }[kind]()
    before = decode_image_file(picture, "before").pixels
    shown = decode_image_file(client.post("/preview", picture=picture).body, "shown").pixels
    after = decode_image_file(client.post("/fill", picture=picture, mask=png(hole), method="telea").body, "after").pixels
    assert before.dtype == after.dtype == shown.dtype
    assert (shown == before).all()
    assert (after[hole == 0] == before[hole == 0]).all()
    assert (after[hole > 0] != before[hole > 0]).any()


def test_a_mask_file_becomes_paint(client: Client, hole: Array) -> None:
    overlay = client.post("/mask", mask=png(hole), width="40", height="30").image
    assert (alpha(overlay) == hole).all()


def test_edges_are_predicted_and_used(client: Client, pixels: Array, hole: Array) -> None:
    parts = {"picture": png(pixels), "mask": png(hole), "method": "edgeconnect"}
    edges = client.post("/edges", **parts)
    assert edges.image.size == (40, 30)
    assert set(np.unique(alpha(edges.image))) == {0, 255}
    drawn = np.zeros_like(hole)
    drawn[15, 5:15] = 255
    without, with_edges = (client.post("/fill", **parts, **more) for more in ({}, {"edges": png(drawn)}))
    changed = (np.asarray(without.image) != np.asarray(with_edges.image)).any(axis=-1)
    assert changed.any()
    assert not changed[hole == 0].any()


def test_a_method_without_edges_predicts_none(client: Client, pixels: Array, hole: Array) -> None:
    answer = client.post("/edges", picture=png(pixels), mask=png(hole), method="telea")
    assert (answer.status, answer.error) == (400, "Telea takes no edges")


# Mistakes and attacks --------------------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not have."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
    packed = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + packed


NOISE = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
BROKEN = {
    "empty": b"",
    "text": b"<html>hello</html>",
    "truncated png": png(NOISE)[:3000],
    "truncated jpeg header": encode(Image.fromarray(NOISE), "JPEG")[:200],
    "png signature alone": b"\x89PNG\r\n\x1a\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_give_one_line_and_the_server_stays_up(client: Client, pixels: Array, hole: Array, kind: str) -> None:
    broken = (f"{kind}.png", BROKEN[kind])
    for answer in (
        client.post("/preview", picture=broken),
        client.post("/mask", mask=broken, width="40", height="30"),
        client.post("/fill", picture=broken, mask=png(hole), method="telea"),
        client.post("/fill", picture=png(pixels), mask=broken, method="telea"),
    ):
        assert answer.status == 400
        assert answer.error.startswith("cannot read")
        assert kind in answer.error
    assert client.post("/fill", picture=png(pixels), mask=png(hole), method="telea").status == 200


def test_a_mislabeled_file_is_read_by_its_content(client: Client, pixels: Array) -> None:
    jpeg = encode(Image.fromarray(pixels), "JPEG")
    assert client.post("/preview", picture=("photo.png", jpeg)).image.size == (40, 30)


@pytest.mark.parametrize("size", [(2000, 1000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_pixels_are_bounded_before_they_are_decoded(client: Client, size: tuple[int, int]) -> None:
    for answer in (client.post("/preview", picture=bomb(*size)), client.post("/mask", mask=bomb(*size), width="9", height="9")):
        assert answer.status == 400
        assert "megapixels" in answer.error or "DecompressionBomb" in answer.error


def test_bytes_are_bounded(client: Client) -> None:
    assert client.post("/preview", picture=bytes(2_100_000)).status == 413
    chunks = (part for part in [form(picture=bytes(1_900_000))[:-50], *(bytes(100_000) for _ in range(5))])
    kind = {"Content-Type": "multipart/form-data; boundary=boundary-of-the-tests", "Transfer-Encoding": "chunked"}
    answer = client.request("POST", "/preview", (f"{len(c):x}\r\n".encode() + c + b"\r\n" for c in [*chunks, b""]), kind)
    assert answer.status == 413
    assert "--max_megabytes" in answer.error


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "the request has no file called 'picture'"),
        ({"mask": png(np.zeros((30, 40), np.uint8))}, "nothing is painted; paint over what should be filled"),
        ({"mask": png(np.full((30, 40), 255, np.uint8))}, "the whole picture is painted"),
        (
            {"mask": png(np.eye(30, dtype=np.uint8) * 255)},
            "the mask mask.png is 30x30 pixels (width x height) but the picture is 40x30",
        ),
        ({"method": "../telea"}, "there is no method '../telea'; there are telea, edgeconnect"),
    ],
    ids=["no files", "no hole", "all hole", "other size", "unknown method"],
)
def test_mistakes_give_one_line(client: Client, pixels: Array, hole: Array, parts: dict[str, Any], line: str) -> None:
    sound = {"picture": png(pixels), "mask": png(hole), "method": "telea"}
    answer = client.post("/fill", **(sound | parts if parts else {"method": "telea"}))
    assert answer.status == 400
    assert answer.error.startswith(line)


def test_a_slow_method_refuses_a_large_hole(client: Client) -> None:
    mask = np.full((300, 300), 255, np.uint8)
    mask[0] = 0
    answer = client.post("/fill", picture=png(np.zeros((300, 300, 3), np.uint8)), mask=png(mask), method="telea")
    assert answer.error.startswith("Telea takes too long for 89,700 pixels")


def test_a_browser_that_leaves_during_an_upload_is_no_fault() -> None:
    """Otherwise the server prints a traceback."""
    messages: list[Any] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"--x\r\n", "more_body": True}]
    headers = {"host": "127.0.0.1", "content-type": "multipart/form-data; boundary=x", "content-length": "99"}
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/fill",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    anyio.run(build([], Limits(1000, 1000)), scope, receive, send)
    assert sent[0]["status"] == 499


@pytest.mark.parametrize("body", [b"", b"nonsense", form(picture=b"x")[:40], form(a=b"1", b=b"2", c=b"3", d=b"4", e=b"5")])
def test_forms_that_are_none(client: Client, body: bytes) -> None:
    for kind in ("multipart/form-data; boundary=boundary-of-the-tests", "multipart/form-data", "application/json"):
        answer = client.request("POST", "/fill", body, {"Content-Type": kind})
        assert answer.status == 400
        assert answer.error


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "", "127.0.0.1.evil.example", "a@b:c", "[::1"])
def test_other_hosts_are_refused(client: Client, host: str) -> None:
    """A foreign name that a foreign name server leads to this address (DNS rebinding)."""
    answer = client.request("GET", "/settings", headers={"Host": host})
    assert answer.status in (400, 421)
    assert b"telea" not in answer.body


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:7860", "[::1]:7860", "192.168.1.7"])
def test_own_hosts_are_accepted(client: Client, host: str) -> None:
    assert client.request("GET", "/settings", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_requests_of_other_pages_are_refused(client: Client, pixels: Array, hole: Array, headers: dict[str, str]) -> None:
    parts = {"picture": png(pixels), "mask": png(hole), "method": "telea"}
    assert client.post("/fill", headers, **parts).status == 403
    own = {"Origin": client.address, "Sec-Fetch-Site": "same-origin"}
    assert client.post("/fill", own, **parts).status == 200


@pytest.mark.parametrize(
    "path", ["/../server.py", "/page.css/../../server.py", "/%2e%2e/server.py", "/etc/passwd", "//etc/passwd", "/fill/x"]
)
def test_no_path_leads_to_a_file(client: Client, path: str) -> None:
    answer = client.request("GET", path)
    assert answer.status == 404
    assert "import" not in answer.body.decode()


def test_names_of_files_are_only_shown(client: Client) -> None:
    line = client.post("/preview", picture=("..\\..\\etc/pass\x01wd" + "x" * 300, b"?")).error
    assert "etc" not in line
    assert len(line) < 250


def test_the_example_can_be_filled(client: Client) -> None:
    assert Image.open(BytesIO(client.request("GET", "/example").body)).size == (451, 300)
