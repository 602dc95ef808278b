"""A SLURM of one node on the loopback interface: started, used and stopped by a test, or by hand.

    python -m tests.slurm.cluster FOLDER        # prints what to export, and runs until Ctrl-C or SIGTERM

All it has lies in a folder of its own: configuration, munge key and socket, state, logs; its ports are free ones. It
needs Debian's slurmctld, slurmd, slurm-client and munge installed, none of them running, and ends only the processes
that it started.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
NODE = "ticketnode"
_SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# No cgroups: they need rights and mounts that a container seldom has. Longest waits cut, for the sake of the tests.
_CONFIG = """
ClusterName=ticket
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmctldTimeout=300
SlurmdTimeout=300
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=2,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes={node} Default=YES MaxTime=60 State=UP
"""


def missing() -> str:
    """What keeps a SLURM from being started here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_SEARCH) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurmctld slurmd slurm-client munge)"
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cluster:
    """Start it with `with`; `environment` is what its commands need."""

    def __init__(self, folder: Path, *, cpus: int = 6) -> None:
        self.folder = folder
        self.cpus = cpus
        self.processes: list[subprocess.Popen] = []
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": _SEARCH,
        }

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # munge asks for folders that only their owner may write
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        host = socket.gethostname().partition(".")[0]
        config = _CONFIG.format(
            host=host, control_port=free_port(), node_port=free_port(), user=pwd.getpwuid(os.getuid()).pw_name,
            munge=munge / "socket", folder=self.folder, node=NODE, cpus=self.cpus,
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(config)
        files = {"key": "key-file", "socket": "socket", "pid": "pid-file", "log": "log-file", "seed": "seed-file"}
        self._launch("munged", "--foreground", "--force", *(f"--{flag}={munge / name}" for name, flag in files.items()))
        self._wait(lambda: (munge / "socket").exists(), "munged has no socket")
        self._launch("slurmctld", "-D")
        self._launch("slurmd", "-D", "-N", NODE)
        self._wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "the node does not become idle")

    def _launch(self, program: str, *words: str) -> None:
        path = shutil.which(program, path=_SEARCH)
        with (self.folder / f"{program}.out").open("wb") as out:
            self.processes.append(
                subprocess.Popen([path, *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            )

    def _wait(self, done, words: str, *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            ended = [one.args[0] for one in self.processes if one.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{words}; ended: {ended}\n{self.logs()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End what was started, by process id, the last first; before that the jobs, whose processes are slurmd's."""
        if len(self.processes) == 3 and all(one.poll() is None for one in self.processes):
            self.empty()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes.clear()

    def empty(self) -> None:
        """Cancel every job, and wait until none is left."""
        ids = set(self.ask("squeue", "-h", "-o", "%A").split())
        if ids:
            self.ask("scancel", *ids)
        deadline = time.monotonic() + 60
        while self.ask("squeue", "-h", "-o", "%A").strip() and time.monotonic() < deadline:
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """What a SLURM command says; empty where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def job(self, job: str) -> dict[str, str]:
        """What scontrol knows of a job: JobState, Restarts, Dependency ..."""
        return dict(re.findall(r"(\w+)=(\S+)", self.ask("scontrol", "-o", "show", "job", job)))

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        found = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out"), *self.folder.glob("munge/log")])
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in found)


def main() -> None:
    reason = missing()
    if reason or len(sys.argv) != 2:
        sys.exit(reason or "usage: python -m tests.slurm.cluster FOLDER")
    for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started in the background
        signal.signal(number, signal.default_int_handler)
    with Cluster(Path(sys.argv[1]).absolute()) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
