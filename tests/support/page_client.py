"""Requests to the page's server, over a socket as browsers send them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

BOUNDARY = "boundary-of-the-tests"


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def error(self) -> str:
        line = json.loads(self.body)["error"]
        assert isinstance(line, str)
        assert "\n" not in line
        return line

    @property
    def image(self) -> Image.Image:
        assert self.status == 200, self.body
        assert self.headers["content-type"] == "image/png"
        return Image.open(BytesIO(self.body))


@dataclass
class Client:
    """Sends requests to a running server."""

    address: str

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, response.read(), found)
        finally:
            connection.close()

    def post(self, path: str, headers: dict[str, str] | None = None, **parts: bytes | str | tuple[str, bytes]) -> Answer:
        """Send a form; bytes, and pairs of name and bytes, are files."""
        content_type = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.request("POST", path, form(**parts), content_type | (headers or {}))


def form(**parts: bytes | str | tuple[str, bytes]) -> bytes:
    body = b""
    for name, part in parts.items():
        file_name, content = part if isinstance(part, tuple) else (f"{name}.png", part)
        is_file = not isinstance(content, str)
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += f'; filename="{file_name}"'.encode() if is_file else b""
        body += b"\r\n\r\n" + (content if is_file else content.encode()) + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def png(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    return encode(Image.fromarray(pixels), "PNG", **options)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()
