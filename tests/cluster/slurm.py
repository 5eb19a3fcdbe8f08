"""Run a private SLURM: a controller and two nodes on this machine, without systemd, for any user.

python tests/cluster/slurm.py                                  a shell in which sbatch, squeue, scancel … use it
python tests/cluster/slurm.py sbatch --wait job.sbatch         one command, with its exit status

Needs `slurmctld`, `slurmd` and `munged` (Debian, Ubuntu: `apt-get install slurm-wlm munge`). The machine's own
configuration and services are neither read nor changed. The nodes, 127.0.0.1 and 127.0.0.2, claim 64 CPUs and 4 GPUs each, so
that job files for real clusters are accepted; SLURM binds no process to them. A requeued job starts again after 6 seconds
instead of two minutes.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
NODES = ("127.0.0.1", "127.0.0.2")
CPUS, MEGABYTES = 64, 1_000_000
GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")  # SLURM requires device files, of any kind
_SYSTEM_FOLDERS = "/usr/sbin:/sbin:/usr/local/sbin"


def missing() -> list[str]:
    """Return the names of the missing programs."""
    return [name for name in PROGRAMS if _find(name) is None]


class Slurm:
    """Starts a controller and its nodes in a `with` block, and removes everything at its end.

    Attributes:
        folder: directory of the cluster, with `*.log`.
        environment: environment variables for commands of the cluster.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        self.environment["SLURM_CONF"] = str(self.folder / "slurm.conf")
        self._ending = ExitStack()

    def __enter__(self) -> Slurm:
        with ExitStack() as ending:
            ending.callback(shutil.rmtree, self.folder, ignore_errors=True)
            ending.callback(self._kill_remaining)
            self._configure()
            self._start(ending, "munged", *self._munge_options())
            self._wait_for("munged", lambda: (self.folder / "munge.socket").exists())
            self._start(ending, "slurmctld", "-D", "-c", "-f", self.environment["SLURM_CONF"])
            for node in NODES:
                self._start(ending, "slurmd", "-D", "-N", node, "-f", self.environment["SLURM_CONF"])
            ending.callback(self._cancel_all)
            self._wait_for(
                "its nodes", lambda: self._ask("sinfo", "--noheader", "--Node", "--format=%t").split() == ["idle"] * 2
            )
            self._ending = ending.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.close()

    def run(self, *command: str, folder: Path | None = None) -> str:
        """Run a command of the cluster; return its output.

        Args:
            command: command and arguments.
            folder: working directory, by default the current one.

        Raises:
            AssertionError: it fails; holds its stderr.
        """
        done = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def logs(self) -> str:
        """Return the logs of the daemons."""
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')}" for path in sorted(self.folder.glob("*.log")))

    def _configure(self) -> None:
        self.folder.chmod(0o755)  # munged requires that other users can reach its socket
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        user = pwd.getpwuid(os.getuid()).pw_name
        with ExitStack() as held:  # all at once, so that no port is assigned twice
            sockets = [held.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            controller, *ports = (each.getsockname()[1] for each in sockets)
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={socket.gethostname()}({NODES[0]})",
            f"SlurmctldPort={controller}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd-%n.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/slurmd-%n.log",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool-%n",
            "AuthType=auth/munge",
            # A requeued job waits until every credential of its first start has expired; 5 seconds is the min.
            f"AuthInfo=socket={self.folder}/munge.socket,cred_expire=5",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1",
            "SlurmdParameters=config_overrides",  # allow more CPUs than the machine has
            "MpiDefault=none",
            "MailProg=/bin/true",
            "ReturnToService=2",
            "JobRequeue=1",
            "KillOnBadExit=1",  # the setting of some clusters, as is
            "WaitTime=1",  # seconds that tasks may run on after one has ended: a job file has to disable both
            "GresTypes=gpu",
            *(
                f"NodeName={node} NodeAddr={node} NodeHostname=localhost Port={port} CPUs={CPUS} RealMemory={MEGABYTES} "
                f"Gres=gpu:{len(GPUS)}"
                for node, port in zip(NODES, ports, strict=True)
            ),
            "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
        ]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in GPUS))

    def _munge_options(self) -> list[str]:
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        return ["--foreground", "--force", *(f"--{option}={self.folder}/munge.{ending}" for option, ending in names.items())]

    def _start(self, ending: ExitStack, name: str, *options: str) -> None:
        """Start a daemon that ends with this process, however that ends."""
        with (self.folder / f"{name}.out").open("ab") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(_find(name)), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        ending.callback(_end, process)

    def _wait_for(self, what: str, there: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not there():
            if time.monotonic() > end:
                raise RuntimeError(f"SLURM did not start, {what} not ready after {seconds:.0f} s:\n{self.logs()}")
            time.sleep(0.1)

    def _ask(self, *command: str) -> str:
        """Return the output of a command, empty while the controller does not answer."""
        try:
            return self.run(*command)
        except (AssertionError, subprocess.TimeoutExpired):
            return ""

    def _cancel_all(self) -> None:
        self._ask("scancel", "--signal=KILL", "--full", f"--user={os.getuid()}")
        self._ask("scancel", f"--user={os.getuid()}")
        with suppress(RuntimeError):
            self._wait_for("the queue's end", lambda: not self._ask("squeue", "--noheader"), seconds=15)

    def _kill_remaining(self) -> None:
        """Kill processes that have this cluster's configuration in their environment."""
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), _SYSTEM_FOLDERS)))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(command: Sequence[str]) -> int:
    """Run a command, or a shell, with a cluster around it."""
    if lacking := missing():
        print(f"error: {', '.join(lacking)} not found; on Debian and Ubuntu: apt-get install slurm-wlm munge", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # which ends the cluster too
    with Slurm() as slurm:
        print(f"SLURM is up: {len(NODES)} nodes, logs in {slurm.folder} until the end", file=sys.stderr)
        return subprocess.run(command or [os.environ.get("SHELL", "bash")], env=slurm.environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
