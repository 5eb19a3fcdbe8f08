"""Serve a local page to repair pictures with a brush: `python -m lit_inpaint.app [--checkpoint FILE …] [--port N]`.

The page is our own, on Starlette and uvicorn. Gradio 6.31, with its image editor and slider, was measured beside it: 54
packages of 367 MB against 8 of 6 MB, 8 to 15 s to import against 0.5 s (two busy cores), and no second layer for edges.
"""

from __future__ import annotations

import argparse
import sys
from ipaddress import ip_address

from lit_inpaint.config import entry_point
from lit_inpaint.config.command_line import CommandParser, whole_number
from lit_inpaint.errors import UserError

_PORT = 7860
_LARGEST_PORT = 65_535
_EPILOG = """
The page works without a network. It offers the network of the package, those of --checkpoint, and the classical methods. Fills
run one after another. Pictures stay in memory: nothing is written to disk.

On a machine reached by ssh: ssh -L 7860:127.0.0.1:7860 MACHINE, and the same address here.
"""


def main(argv: list[str]) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    options = _parser().parse_args(argv)
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"the page needs {error.name}; run pip install 'lit_inpaint[app]'") from None

    from lit_inpaint.app.sockets import listen

    with listen(options.host, options.port) as socket:  # before the networks are loaded, which takes seconds
        from lit_inpaint.app.methods import load_methods
        from lit_inpaint.app.server import Limits, build, serve

        methods = load_methods(options.checkpoint)
        limits = Limits(options.max_megabytes * 2**20, options.max_megapixels * 10**6)
        port = socket.getsockname()[1]
        shown = f"[{options.host}]" if ":" in options.host else options.host
        print(f"Open http://{shown}:{port} in a browser; Ctrl-C ends the page", flush=True)
        if not _is_loopback(options.host):
            print(f"note: whoever can reach {options.host} can use this page; it asks for no password", file=sys.stderr)
        serve(build(methods, limits, options.host), socket)
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser("app", "A local page to repair pictures with a brush.", _EPILOG)
    parser.add_argument(
        "--checkpoint",
        metavar="FILE|DIR",
        nargs="+",
        default=[],
        help="checkpoints (.ckpt) of runs, or model folders, to offer beside the network of the package",
    )
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port",
        metavar="N",
        type=whole_number(0, _LARGEST_PORT),
        default=_PORT,
        help="port to listen on; 0 takes a free one (default %(default)s)",
    )
    parser.add_argument(
        "--max_megapixels", metavar="N", type=whole_number(1, 178), default=50, help="largest picture (default %(default)s)"
    )
    parser.add_argument(
        "--max_megabytes", metavar="N", type=whole_number(1, 4096), default=100, help="largest upload (default %(default)s)"
    )
    return parser


if __name__ == "__main__":
    entry_point.run_command(main)
