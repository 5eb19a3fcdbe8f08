"""Open the socket of the page, with one line for each mistake."""

from __future__ import annotations

import errno
import socket

from lit_inpaint.errors import UserError


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes a free one.

    Raises:
        UserError: the port is in use or reserved, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use; name another one with --port, or --port 0 for any free one") from None
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} is reserved for the administrator; name one above 1023 with --port") from None
        raise UserError(f"--host {host} is no address of this machine ({error.strerror or error}); leave it out") from None
    except UnicodeError as error:  # a name that no name server can have, such as "..": "encoding with … failed"
        raise UserError(f"--host {host[:80]} is no name of a machine ({error.__cause__ or error}); leave it out") from None
