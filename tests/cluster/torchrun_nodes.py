"""Start `experiments/cluster/torchrun.sh` on several nodes, which are loopback addresses of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

SCRIPT = Path(__file__).parents[2] / "experiments" / "cluster" / "torchrun.sh"
CLEARED = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC_", "SLURM_", "LIT_INPAINT_")


class Nodes:
    """Runs the script on 127.0.0.1, 127.0.0.2, …; the end of the `with` block kills what is left of it.

    Args:
        project: working directory.
        count: number of nodes.
        settings: options of `fit` for `one.yaml`.
        GPUS: setting of the script: processes per node.
    """

    def __init__(self, project: Path, count: int, *settings: str, GPUS: str = "1") -> None:  # noqa: N803
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        clean = {name: value for name, value in os.environ.items() if not name.startswith(CLEARED)}
        clean |= {"NODES": str(count), "FIRST": "127.0.0.1", "PORT": port, "GPUS": GPUS, "THREADS": "1"}
        self._files = [project / f"node-{port}-{node}.log" for node in range(count)]
        self.processes: list[subprocess.Popen[bytes]] = []
        for node, file in enumerate(self._files):
            with file.open("wb") as output:
                process = subprocess.Popen(
                    [str(SCRIPT), "one.yaml", *settings],
                    cwd=project,
                    env=clean | {"NODE": str(node), "PET_LOCAL_ADDR": f"127.0.0.{node + 1}"},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.processes.append(process)

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def statuses(self, seconds: float = 120) -> list[int]:
        """Wait for all nodes and return their exit statuses."""
        return [process.wait(seconds) for process in self.processes]

    def logs(self) -> str:
        """Return the output of all nodes."""
        return "\n".join(file.read_text() for file in self._files)
