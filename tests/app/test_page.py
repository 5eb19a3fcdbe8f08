"""The page in a real browser: strokes by mouse and keyboard, what is shown, and what is downloaded."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_client import png
from PIL import Image

browser = pytest.importorskip("browser", reason="the package websockets, which drives the browser, is not installed")

pytestmark = pytest.mark.skipif(browser.find_browser() is None, reason=f"no browser: none of {', '.join(browser.PROGRAMS)}")

SIDE = 96
CTRL = 2
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def picture() -> Array:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def page(address: str, picture: Array, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page with the picture opened."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "noise.png").write_bytes(png(picture))
    with browser.open_page(address, folder) as tab:
        tab.wait("document.querySelector('#method-telea')?.checked")
        tab.choose_file("#picture-file", folder / "noise.png")
        tab.wait("!document.querySelector('#editor').hidden && !state.running")
        yield tab


@pytest.fixture(autouse=True)
def no_faults(page: Any) -> Iterator[None]:
    """Each test starts without paint, and leaves no error of JavaScript, no blocked and no foreign request."""
    page.run("Object.values(layers).forEach((each) => each.reset(state.width, state.height)); refresh()")
    yield
    faults = [event for event in page.events if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
    refused = [event for event in faults if event["params"].get("entry", {}).get("source") == "network"]  # answers with 400
    assert [event for event in faults if event not in refused] == []
    addresses = [
        event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"
    ]
    assert {address.removeprefix("blob:").split("/")[2] for address in addresses if address[:5] != "data:"} == {
        page.run("location.host")
    }


def painted(page: Any) -> Array:
    """The mask that the page would send, as the server reads it."""
    script = "layers.mask.blob().then((blob) => new Response(blob).bytes()).then((bytes) => bytes.toBase64())"
    return np.asarray(Image.open(BytesIO(base64.b64decode(page.run(script)))))[..., 0] > 127


def fill(page: Any) -> None:
    page.click("#fill")
    page.wait("!state.running && document.querySelectorAll('.card .row:not([hidden])').length")


def downloaded(page: Any) -> Array:
    return np.asarray(Image.open(BytesIO(page.download(".card [download]"))))


def test_a_stroke_is_filled_and_known_pixels_are_kept(page: Any, picture: Array, tmp_path: Path) -> None:
    page.stroke([(0.25, 0.25), (0.5, 0.5), (0.75, 0.25)])
    mask = painted(page)
    assert mask[SIDE // 2, SIDE // 2]
    assert mask[24, 24]
    assert 0.02 < mask.mean() < 0.3
    fill(page)
    result = downloaded(page)
    assert result.shape == picture.shape
    assert (result[~mask] == picture[~mask]).all()
    assert (result[mask] != picture[mask]).any(axis=-1).mean() > 0.9
    assert page.run("document.querySelector('.card [download]').download") == "noise_telea.png"
    assert " s" in page.run("document.querySelector('.card h3').innerText")

    # What the screen shows right of the slider is the result, left of it the picture.
    page.run("(s => { s.value = 0; s.oninput() })(document.querySelector('.compare input'))")
    page.run("document.querySelector('.compare').scrollIntoView({block: 'center', behavior: 'instant'})")
    left, top, width, height = page.box(".compare")
    page.screenshot(tmp_path / "page.png")
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    sample = [(y, x) for y in range(30, 90, 7) for x in range(8, 90, 5)]
    seen = [shown[int(top + (y + 0.5) * height / SIDE), int(left + (x + 0.5) * width / SIDE)] for y, x in sample]
    assert np.abs(np.array(seen) - [result[place] for place in sample]).max() <= 2


def test_undo_redo_eraser_and_clear(page: Any) -> None:
    page.stroke([(0.2, 0.2), (0.8, 0.2)])
    first = painted(page)
    page.stroke([(0.5, 0.1), (0.5, 0.9)])
    both = painted(page)
    page.click("#undo")
    assert (painted(page) == first).all()
    page.key("Z", 90, CTRL | 8)
    assert (painted(page) == both).all()
    page.stroke([(0.5, 0.1), (0.5, 0.9)], button="right")  # erases
    assert painted(page)[60].sum() == 0
    assert painted(page)[19, 20]
    page.key("z", 90, CTRL)
    page.click("#invert")
    assert (painted(page) == ~both).mean() > 0.99
    page.click("#clear")
    assert not painted(page).any()
    page.key("z", 90, CTRL)
    assert painted(page).any()


def test_a_mask_file_is_loaded_and_one_of_another_size_refused(page: Any, tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:30, 40:60] = 255
    (tmp_path / "mask.png").write_bytes(png(mask))
    page.choose_file("#mask-file", tmp_path / "mask.png")
    page.wait("layers.mask.actions.length && !state.running")
    assert (painted(page) == (mask > 0)).all()
    (tmp_path / "small.png").write_bytes(png(mask[:40]))
    page.choose_file("#mask-file", tmp_path / "small.png")
    page.wait("document.querySelector('#error').textContent")
    assert "small.png is 96x40 pixels" in page.run("document.querySelector('#error').textContent")
    assert (painted(page) == (mask > 0)).all()


def test_the_keyboard_paints(page: Any) -> None:
    page.run("state.cursor = [48.5, 48.5]; setSize(1); surface.focus()")
    page.key(" ", 32, release=False)
    for _ in range(3):
        page.key("ArrowRight", 39)
    page.key(" ", 32)
    found = painted(page)
    assert found[48, 48:52].all()
    assert found.sum() == 4


def test_two_clicks_fill_once_and_nothing_painted_is_said(page: Any) -> None:
    page.click("#fill")
    page.wait("document.querySelector('#error').textContent")
    assert page.run("document.querySelector('#error').textContent").startswith("Nothing is painted")
    page.stroke([(0.3, 0.3), (0.6, 0.3)])
    assert page.run("document.querySelector('#error').textContent") == ""
    page.events.clear()
    page.click("#fill", count=2)
    page.wait("!state.running && document.querySelectorAll('.card .row:not([hidden])').length")
    sent = [event for event in page.events if event.get("method") == "Network.requestWillBeSent"]
    assert sum(event["params"]["request"]["url"].endswith("/fill") for event in sent) == 1


def test_edges_are_predicted_drawn_and_used(page: Any) -> None:
    assert page.run("document.querySelector('#edges-panel').hidden")
    page.click("#method-telea")
    page.click("#method-edgeconnect")
    try:
        page.stroke([(0.2, 0.5), (0.8, 0.5)])
        fill(page)
        before = downloaded(page)
        page.click("#predict-edges")
        page.wait("layers.edges.actions.length && !state.running")
        page.stroke([(0.2, 0.5), (0.8, 0.5)])
        assert page.run("[layers.mask.actions.length, layers.edges.actions.length]") == [1, 2]
        fill(page)
        assert (downloaded(page) != before).any()
    finally:
        page.click("#method-telea")
        page.click("#method-edgeconnect")


def test_a_result_becomes_the_next_picture(page: Any) -> None:
    page.stroke([(0.3, 0.6), (0.6, 0.6)])
    fill(page)
    result = downloaded(page)
    page.click(".card .continue")
    page.wait("state.picture.name === 'noise_telea.png' && !state.running")
    page.stroke([(0.1, 0.1), (0.2, 0.1)])
    mask = painted(page)
    fill(page)
    assert (downloaded(page)[~mask] == result[~mask]).all()
