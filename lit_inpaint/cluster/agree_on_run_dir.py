"""Agree on the run directory, and on the one process that prints an error, before the process group exists."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_inpaint.cluster.launch_info import LaunchInfo
from lit_inpaint.errors import UserError
from lit_inpaint.storage.atomic_write import atomic_write

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT_S = 90.0
"""Seconds for the slowest process to start, and for a shared file system to show another node's file (NFS: up to 60)."""


def broadcast_run_dir(launch: LaunchInfo, requested: Path, choose: Callable[[], tuple[Path, bool]]) -> tuple[Path, bool]:
    """Choose the run directory on rank 0 and return the choice on every rank: the path, and whether to resume there.

    Under torchrun, rank 0 publishes the choice in torchrun's key-value store. Under srun it writes a hidden file into the
    nearest directory that exists. On several nodes the file also proves that all of them see the same file system.

    Args:
        launch: of this process.
        requested: the run directory or its parent; the file goes there, or into the nearest ancestor that exists.
        choose: makes the choice; called on rank 0 only.

    Raises:
        UserError: on rank 0, what `choose` raises; on another rank, the choice did not arrive in time, or its file is not
            visible here.
        SystemExit: on another rank, rank 0 failed and has printed its error.
    """
    if not launch.external or launch.processes == 1:
        return choose()
    store = _store(launch) if launch.launcher == "torchrun" else None
    if launch.rank == 0:
        return _publish(launch, store, requested, choose)
    message = _wait(store, requested, _file_name(launch))
    if message is None:
        raise UserError(
            f"{socket.gethostname()} (process {launch.rank}) did not receive the run directory from the first process of "
            f"{launch.launcher} within {TIMEOUT_S:.0f} seconds; {requested.absolute()} must be on a file system that all nodes "
            "share; name one with --run_dir DIR"
        )
    file = Path(message["file"])
    if store is None:
        _acknowledge(launch, file)
    if message["failed"]:
        raise SystemExit(2)
    if store is not None and launch.node > 0:
        if not _wait_for_file(file):
            raise UserError(
                f"{socket.gethostname()} does not see the run directory {message['path']} of {message['host']}; name one on a "
                "file system that both share: --run_dir DIR"
            )
        _acknowledge(launch, file)
    return Path(message["path"]), message["resumes"]


def _file_name(launch: LaunchInfo) -> str:
    return f".launch-{hashlib.blake2b(launch.key.encode(), digest_size=8).hexdigest()}"


def _acknowledge(launch: LaunchInfo, file: Path) -> None:
    """Signal to rank 0 that this rank has read its file."""
    with suppress(OSError):
        file.with_name(f"{file.name}.{launch.rank}").touch()


def _publish(
    launch: LaunchInfo, store: Store | None, requested: Path, choose: Callable[[], tuple[Path, bool]]
) -> tuple[Path, bool]:
    file = nearest_existing_dir(requested) / _file_name(launch)
    message: dict[str, Any] = {"failed": True, "host": socket.gethostname(), "file": str(file.absolute())}
    path, resumes = requested, False
    try:
        path, resumes = choose()
        message |= {"failed": False, "path": str(path), "resumes": resumes}
    finally:
        text = json.dumps(message)
        if store is None or launch.nodes > 1:
            try:
                with atomic_write(file) as part:
                    part.write_text(text)
            except OSError as error:
                raise UserError(f"cannot write to {file.parent} ({error.strerror}); name another --run_dir") from None
        if store is not None:
            store.set("run", text)
        if message["failed"]:
            cleanup(launch, requested)
    return path, resumes


def _wait(store: Store | None, requested: Path, name: str) -> dict[str, Any] | None:
    if store is not None:
        try:
            received: dict[str, Any] = json.loads(store.get("run"))
        except RuntimeError:  # timeout
            return None
        return received
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        for folder in (requested.absolute(), *requested.absolute().parents):
            with suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads((folder / name).read_text())
                return found
        time.sleep(0.1)
    return None


def cleanup(launch: LaunchInfo, requested: Path) -> None:
    """Delete the file of rank 0 once every rank that needs it has acknowledged it.

    That is immediate where all processes have joined the process group. A run that ends earlier, being complete for example,
    waits for the slowest rank.
    """
    if launch.rank > 0 or not launch.external:
        return
    num_readers = launch.processes - (1 if launch.launcher == "srun" else launch.per_node or 1)
    until = time.monotonic() + TIMEOUT_S
    for folder in (requested.absolute(), *requested.absolute().parents):
        file = folder / _file_name(launch)
        if file.is_file():
            while len(list(folder.glob(f"{file.name}.*"))) < num_readers and time.monotonic() < until:
                time.sleep(0.1)
            for path in (file, *folder.glob(f"{file.name}.*")):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def nearest_existing_dir(path: Path) -> Path:
    """Return `path` if it is a directory, else its nearest ancestor that is one."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _wait_for_file(file: Path) -> bool:
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        if file.exists():
            return True
        time.sleep(0.2)
    return False


def _store(launch: LaunchInfo) -> Store:
    """Connect to the key-value store of torchrun's agent.

    Raises:
        UserError: there is none.
    """
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    try:
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise RuntimeError("torchrun shares no store")
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return PrefixStore(f"lit_inpaint/{launch.key}", TCPStore(address, port, timeout=timedelta(seconds=TIMEOUT_S)))
    except RuntimeError as error:
        raise UserError(
            f"the processes of torchrun cannot agree on a run directory ({str(error).splitlines()[0]}); unset "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE if it is set"
        ) from None


@contextmanager
def errors_printed_once(launch: LaunchInfo) -> Iterator[None]:
    """Print a user error that several processes raise from one of them only; the others exit with status 2."""
    try:
        yield
    except UserError as error:
        if not should_print(launch, str(error)):
            raise SystemExit(2) from error
        raise


def should_print(launch: LaunchInfo, message: str) -> bool:
    """Return whether this process prints a message that other processes may have too: the first of them does, rank 0 at best.

    Under srun each node prints its own, since the nodes share nothing before the run directory is chosen.
    """
    if not launch.external or launch.processes == 1:
        return True
    if launch.rank > 0:
        time.sleep(1)
    digest = hashlib.blake2b(f"{launch.key} {message}".encode(), digest_size=12).hexdigest()
    if launch.launcher == "torchrun":
        with suppress(UserError, RuntimeError):
            return _store(launch).add(digest, 1) == 1
    file = Path(tempfile.gettempdir()) / f"lit_inpaint-{digest}"
    with suppress(OSError):
        if time.time() - file.stat().st_mtime > 60:
            file.unlink()
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True
    return True
