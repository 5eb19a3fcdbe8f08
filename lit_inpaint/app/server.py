"""HTTP server of the page: routes, limits, and the refusal of requests that other web pages cause.

- No request names a path; pictures travel in the requests and answers and are never stored, neither in memory nor on disk.
- A `Host` header that is a name of another machine is refused (DNS rebinding), as is an `Origin` other than the page's own
  (scripts and forms of other sites).
- Uploads are counted while they arrive; sizes in pixels are read from file headers before memory is allocated for the pixels.
- Mistakes are answered with one line as {"error": …}.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from ipaddress import ip_address
from types import FrameType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import anyio
import uvicorn
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.datastructures import FormData, Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lit_inpaint.app import pictures
from lit_inpaint.app.methods import Method
from lit_inpaint.app.pictures import Upload
from lit_inpaint.errors import UserError
from lit_inpaint.storage.image_decode import MAX_PIXELS

Result = TypeVar("Result")

_PAGE = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"), "/page.js": ("page.js", "text/javascript")}
_EXAMPLE = "chelsea.png"
_MAX_CONNECTIONS = 32
_MAX_FIELD_BYTES = 1000
_LEFT = "the browser has left"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; form-action 'none'; "
    "base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """Bounds of one request.

    Attributes:
        max_bytes: of all files of a request.
        max_pixels: of a picture.
    """

    max_bytes: int = 100 * 2**20
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if self.max_pixels > MAX_PIXELS:
            raise UserError(f"at most {MAX_PIXELS:,} pixels can be read")


def build(methods: Sequence[Method], limits: Limits, host: str = "127.0.0.1") -> Starlette:
    """Build the server of the page.

    Args:
        methods: to offer, in this order.
        limits: bounds of one request.
        host: address to listen on; its name is accepted in `Host` headers.
    """
    handlers = _Handlers({method.key: method for method in methods}, limits)
    routes = [Route(path, partial(_page, *page)) for path, page in _PAGE.items()]
    routes += [
        Route("/settings", handlers.settings),
        Route("/example", _example),
        *(Route(f"/{name}", getattr(handlers, name), methods=["POST"]) for name in ("preview", "mask", "edges", "fill")),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_OwnPageOnly, host=host)],
        exception_handlers={UserError: _mistake, HTTPException: _http_error, Exception: _fault},
    )


def serve(app: Starlette, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM, which end the process."""
    config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, limit_concurrency=_MAX_CONNECTIONS)
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at once: requests leave nothing behind, and a graceful end would wait for the thread of a computation."""
        sys.stdout.flush()
        os._exit(0 if sig == signal.SIGINT else 128 + sig)


class _Form(NamedTuple):
    """Files and values of a request, by their names in the form."""

    files: dict[str, Upload]
    values: dict[str, str]

    def file(self, name: str) -> Upload:
        if name not in self.files:
            raise UserError(f"the request has no file called {name!r}")
        return self.files[name]


class _MemoryParser(MultiPartParser):
    """Keeps uploads in memory; their size is bounded, and a full disk is no concern."""

    spool_max_size = 2**40


class _Handlers:
    """Answers to requests; one network computes at a time, since it uses all cores."""

    def __init__(self, methods: dict[str, Method], limits: Limits) -> None:
        self._methods = methods
        self._limits = limits
        self._computing = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(2)  # beside a computation, which may take long

    async def settings(self, request: Request) -> Response:
        """What the page has to know: methods and limits."""
        methods = [
            {
                "key": method.key,
                "label": method.label,
                "classical": method.network is None,
                "edges": method.takes_edges,
                "selected": method.selected,
            }
            for method in self._methods.values()
        ]
        return JSONResponse({"methods": methods, "max_bytes": self._limits.max_bytes, "max_pixels": self._limits.max_pixels})

    async def preview(self, request: Request) -> Response:
        """A picture of any format as a PNG."""
        form = await self._form(request)
        return _png(await self._call(request, self._reading, pictures.preview, form.file("picture"), self._limits.max_pixels))

    async def mask(self, request: Request) -> Response:
        """A mask file as a PNG that is opaque in the holes."""
        form = await self._form(request)
        try:
            shape = int(form.values["height"]), int(form.values["width"])
        except (KeyError, ValueError):
            raise UserError("the request has no width and height of the picture") from None
        mask = form.file("mask")
        return _png(await self._call(request, self._reading, pictures.mask_overlay, mask, shape, self._limits.max_pixels))

    async def edges(self, request: Request) -> Response:
        """The edges that a network predicts, as a PNG that is opaque on edges."""
        form = await self._form(request)
        arguments = self._method(form), form.file("picture"), form.file("mask")
        return _png(await self._call(request, self._computing, pictures.edges_overlay, *arguments, self._limits.max_pixels))

    async def fill(self, request: Request) -> Response:
        """The completed picture as a PNG, with the seconds that it took."""
        form = await self._form(request)
        arguments = self._method(form), form.file("picture"), form.file("mask"), form.files.get("edges")
        filled = await self._call(request, self._computing, pictures.fill, *arguments, self._limits.max_pixels)
        return _png(filled.png, {"X-Seconds": f"{filled.seconds:.3f}"})

    def _method(self, form: _Form) -> Method:
        key = form.values.get("method", "")
        if key not in self._methods:
            raise UserError(f"there is no method {key!r}; there are {', '.join(self._methods)}")
        return self._methods[key]

    async def _form(self, request: Request) -> _Form:
        """Read a form of files and short values.

        Raises:
            HTTPException: 413 for too many bytes, 499 if the browser leaves.
            UserError: something else than such a form.
        """
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise UserError("send a form of files (multipart/form-data)")
        parser = _MemoryParser(
            request.headers, self._bounded(request), max_files=3, max_fields=3, max_part_size=_MAX_FIELD_BYTES
        )
        try:
            form: FormData = await parser.parse()
        except (MultiPartException, KeyError, ValueError) as error:
            raise UserError(f"the form cannot be read ({error or type(error).__name__})") from None
        except ClientDisconnect:
            raise HTTPException(499, _LEFT) from None
        uploads = {
            name: Upload(await value.read(), _short(value.filename))
            for name, value in form.items()
            if isinstance(value, UploadFile)
        }
        return _Form(uploads, {name: value for name, value in form.items() if isinstance(value, str)})

    async def _bounded(self, request: Request) -> AsyncGenerator[bytes, None]:
        limit = self._limits.max_bytes
        too_large = HTTPException(413, f"the upload is larger than {limit / 2**20:.0f} MB (--max_megabytes)")
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise too_large
            yield chunk

    async def _call(
        self, request: Request, turns: anyio.CapacityLimiter, function: Callable[..., Result], *arguments: Any
    ) -> Result:
        """Call a function in a thread when its turn comes, unless the browser has left by then."""
        async with turns:
            if await request.is_disconnected():
                raise HTTPException(499, _LEFT)
            return await run_sync(function, *arguments)


class _OwnPageOnly:
    """Middleware that refuses requests which pages of other sites cause, and adds headers that protect ours."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the start of the server
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            answer = _error(421, "this page does not go by that name; open the address that the program printed")
            await answer(scope, receive, send_with_headers)
        elif scope["method"] not in ("GET", "HEAD") and _is_foreign(headers, host):
            await _error(403, "the request comes from another web page")(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _is_own(self, host: str) -> bool:
        """Whether a `Host` header is an IP address, which no foreign name server can give, or a name of this machine."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _is_foreign(headers: Headers, host: str) -> bool:
    """Whether a browser says that another page causes a request; other programs send neither header."""
    origin = headers.get("origin")
    try:
        same = origin is None or urlsplit(origin).netloc == host
    except ValueError:  # no address at all
        return True
    return not same or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


async def _page(name: str, media_type: str, request: Request) -> Response:
    return Response(files("lit_inpaint.app").joinpath("page", name).read_bytes(), media_type=media_type)


async def _example(request: Request) -> Response:
    return Response(files("skimage.data").joinpath(_EXAMPLE).read_bytes(), media_type="image/png")


def _png(content: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(content, media_type="image/png", headers=headers)


def _error(status: int, line: str) -> Response:
    return JSONResponse({"error": " ".join(line.split())}, status_code=status)


async def _mistake(request: Request, error: Exception) -> Response:
    return _error(400, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.detail)


async def _fault(request: Request, error: Exception) -> Response:
    """Answer a fault of ours; the server prints its traceback and stays up."""
    return _error(500, f"{type(error).__name__}: {error}"[:300])


def _short(name: str | None) -> str:
    """Make a file name from the browser fit for a message."""
    printable = "".join(character for character in name or "" if character.isprintable())
    return printable.replace("\\", "/").rpartition("/")[2][-60:] or "the file"
