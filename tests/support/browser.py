"""Drive a headless Chromium by the Chrome DevTools protocol, without a driver program."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 30


def find_browser() -> str | None:
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Page:
    """A tab of a browser."""

    def __init__(self, socket: ClientConnection, folder: Path) -> None:
        self._socket = socket
        self._folder = folder
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that arrive meanwhile are kept."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=TIMEOUT_S))
            if message.get("id") != number:
                self.events.append(message)
            elif "error" in message:
                raise RuntimeError(f"{method}: {message['error']['message']}")
            else:
                return message["result"]  # type: ignore[no-any-return]

    def run(self, script: str) -> Any:
        """Evaluate JavaScript, wait for its promise, and return its value."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait(self, condition: str, timeout: float = TIMEOUT_S) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + timeout
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, (
                f"not within {timeout} s: {condition}; the page says {self.run('document.body.innerText')}"
            )
            time.sleep(0.05)

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def download(self, selector: str) -> bytes:
        """Click a link that downloads a file, and return the file's content."""
        path = self._folder / str(self.run(f"document.querySelector({selector!r}).download"))
        self.click(selector)
        end = time.monotonic() + TIMEOUT_S
        while not path.exists():  # it has another name until it is complete
            assert time.monotonic() < end, f"no download of {path.name}"
            time.sleep(0.02)
        content = path.read_bytes()
        path.unlink()
        return content

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window."""
        found = self.run(f"(r => [r.x, r.y, r.width, r.height])(document.querySelector({selector!r}).getBoundingClientRect())")
        return tuple(found)

    def mouse(self, kind: str, x: float, y: float, button: str = "left") -> None:
        pressed = {"left": 1, "right": 2}[button] if kind != "mouseReleased" else 0
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=pressed, clickCount=1)

    def click(self, selector: str, count: int = 1) -> None:
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'nearest', behavior: 'instant'}})")
        left, top, width, height = self.box(selector)
        for _ in range(count):
            self.mouse("mousePressed", left + width / 2, top + height / 2)
            self.mouse("mouseReleased", left + width / 2, top + height / 2)

    def stroke(self, points: list[tuple[float, float]], button: str = "left") -> None:
        """Drag the mouse over points, fractions of the width and height of the painting area."""
        self.run("document.querySelector('#mask').scrollIntoView({block: 'nearest', behavior: 'instant'})")
        left, top, width, height = self.box("#mask")
        places = [(left + x * width, top + y * height) for x, y in points]
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=places[0][0], y=places[0][1])
        self.mouse("mousePressed", *places[0], button)
        for place in places[1:]:
            self.mouse("mouseMoved", *place, button)
        self.mouse("mouseReleased", *places[-1], button)

    def key(self, key: str, code: int, modifiers: int = 0, release: bool = True) -> None:
        text = {"text": key} if len(key) == 1 and not modifiers else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, modifiers=modifiers, **text)
        if release:
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def open_page(address: str, folder: Path, size: tuple[int, int] = (1280, 900)) -> Iterator[Page]:
    """Start a browser with an empty profile in `folder`, open an address, and end the browser; downloads go to `folder` too."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    program = find_browser()
    assert program is not None
    process = subprocess.Popen([program, *options, "about:blank"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("DevTools listening on "))
        with connect(line.split()[-1], max_size=None) as browser_socket:
            browser = Page(browser_socket, folder)
            browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            base = line.split()[-1].partition("/devtools/")[0]
            with connect(f"{base}/devtools/page/{target}", max_size=None) as socket:
                page = Page(socket, folder)
                width, height = size
                page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
                reduced = [{"name": "prefers-reduced-motion", "value": "reduce"}]
                page.call("Emulation.setEmulatedMedia", features=reduced)  # elements stay where they were measured
                for domain in ("Page", "Runtime", "Network", "Log"):
                    page.call(f"{domain}.enable")
                page.call("Page.navigate", url=address)
                page.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
                yield page
            browser.call("Browser.close")
        process.wait(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.wait()
