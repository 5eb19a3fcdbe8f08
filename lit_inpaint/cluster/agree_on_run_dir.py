"""What the processes of a run agree on before they are a process group: the run folder, and who prints what all have to say."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_inpaint.cluster.launch_info import LaunchInfo, existing_folder
from lit_inpaint.errors import UserError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT_S = 90.0
"""Seconds for the slowest process to start, and for a shared file system to show what another machine wrote (NFS: up to 60)."""


def broadcast_run_dir(launch: LaunchInfo, wanted: Path, choose: Callable[[], tuple[Path, bool]]) -> tuple[Path, bool]:
    """The run folder that the first process chooses, and whether to go on from a checkpoint there, in every process.

    Under torchrun the first process tells the others through torchrun's own store. Under srun there is none, and it leaves a
    hidden file in the nearest folder that exists. Over several nodes the file also shows that all of them see the same disk.

    Args:
        launch: of this process.
        wanted: the folder, or the one it will lie in; the file goes there, or as near above as there is a folder.
        choose: makes the choice; called in the first process alone.

    Raises:
        UserError: what `choose` raises, in the first process; in another one: nothing was heard of the first, or its file is
            not seen here.
        SystemExit: the first process failed, and has said so.
    """
    if not launch.external or launch.processes == 1:
        return choose()
    store = _store(launch) if launch.launcher == "torchrun" else None
    if launch.rank == 0:
        return _publish(launch, store, wanted, choose)
    said = _wait(store, wanted, _name(launch))
    if said is None:
        raise UserError(
            f"{socket.gethostname()} (process {launch.rank}) has not heard within {TIMEOUT_S:.0f} seconds which run folder "
            f"the first process of {launch.launcher} chose; {wanted.absolute()} must be on a file system that all nodes share; "
            "name one with --run_dir DIR"
        )
    if store is None:
        _acknowledge(launch, Path(said["file"]))
    if said["failed"]:
        raise SystemExit(2)
    if store is not None and launch.node > 0 and not _appears(Path(said["file"])):
        raise UserError(
            f"{socket.gethostname()} does not see the run folder {said['path']} of {said['host']}; name one on a file system "
            "that both share: --run_dir DIR"
        )
    if store is not None and launch.node > 0:
        _acknowledge(launch, Path(said["file"]))
    return Path(said["path"]), said["going_on"]


def _name(launch: LaunchInfo) -> str:
    return f".launch-{hashlib.blake2b(launch.key.encode(), digest_size=8).hexdigest()}"


def _acknowledge(launch: LaunchInfo, file: Path) -> None:
    """Tell the first process that this one has seen its file."""
    with suppress(OSError):
        file.with_name(f"{file.name}.{launch.rank}").touch()


def _publish(
    launch: LaunchInfo, store: Store | None, wanted: Path, choose: Callable[[], tuple[Path, bool]]
) -> tuple[Path, bool]:
    file = existing_folder(wanted) / _name(launch)
    said: dict[str, Any] = {"failed": True, "host": socket.gethostname(), "file": str(file.absolute())}
    path, going_on = wanted, False
    try:
        path, going_on = choose()
        said |= {"failed": False, "path": str(path), "going_on": going_on}
    finally:
        text = json.dumps(said)
        if store is None or launch.nodes > 1:
            try:
                part = file.with_name(f"{file.name}-part")
                part.write_text(text)
                part.replace(file)
            except OSError as error:
                raise UserError(f"cannot write to {file.parent} ({error.strerror}); name another --run_dir") from None
        if store is not None:
            store.set("run", text)
        if said["failed"]:
            cleanup(launch, wanted)
    return path, going_on


def _wait(store: Store | None, wanted: Path, name: str) -> dict[str, Any] | None:
    if store is not None:
        try:
            heard: dict[str, Any] = json.loads(store.get("run"))
        except RuntimeError:  # the time is over
            return None
        return heard
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        for folder in (wanted.absolute(), *wanted.absolute().parents):
            with suppress(OSError, ValueError):
                found: dict[str, Any] = json.loads((folder / name).read_text())
                return found
        time.sleep(0.1)
    return None


def cleanup(launch: LaunchInfo, wanted: Path) -> None:
    """Take the first process's file away, as soon as all that look for it have seen it.

    Where all processes have met already that is at once. A run that ends before, being complete, say, waits for the slowest.
    """
    if launch.rank > 0 or not launch.external:
        return
    looking = launch.processes - (1 if launch.launcher == "srun" else launch.per_node or 1)
    until = time.monotonic() + TIMEOUT_S
    for folder in (wanted.absolute(), *wanted.absolute().parents):
        file = folder / _name(launch)
        if file.is_file():
            while len(list(folder.glob(f"{file.name}.*"))) < looking and time.monotonic() < until:
                time.sleep(0.1)
            for path in (file, *folder.glob(f"{file.name}.*")):
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _appears(file: Path) -> bool:
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        if file.exists():
            return True
        time.sleep(0.2)
    return False


def _store(launch: LaunchInfo) -> Store:
    """Torchrun's own store, which its agent keeps.

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
            f"the processes of torchrun cannot agree on a run folder ({str(error).splitlines()[0]}); unset "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE if it is set"
        ) from None


def should_print(launch: LaunchInfo, message: str) -> bool:
    """Whether this process should print a message that others of the run may have too: the first process, if it has it.

    Under srun each node counts for itself, as before the choice of a run folder nodes share nothing that could be asked.
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
