"""The text of a job script, and of the script that submits all: what a user would write by hand, and may edit."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ticketcli.launch.jobs import Job, index_range, submit_in_order
from ticketcli.launch.profile import Profile, Resources

SUBMIT = "submit.sh"


@dataclass(frozen=True)
class Setting:
    """What all scripts of a recipe have in common.

    Attributes:
        title: what the recipe is called.
        words: the recipe as `ticket run` is to be told it: file, overrides, drops.
        run: the run folder, absolute.
        logs: where SLURM writes what the jobs say, absolute.
        folder: where relative paths of the recipe begin: where the scripts were made.
        data_dir: where image sets lie, if said.
        profile: the site.
    """

    title: str
    words: tuple[str, ...]
    run: Path
    logs: Path
    folder: Path
    data_dir: Path | None
    profile: Profile


def file_of(job: Job) -> str:
    """The name of a job's script."""
    return f"{job.name}.sh"


def scripts(jobs: Sequence[Job], setting: Setting) -> dict[str, str]:
    """File name -> text: a script a job, and the one that submits them."""
    return {file_of(job): job_script(job, setting) for job in jobs} | {SUBMIT: submit_script(jobs, setting)}


# ---------------------------------------------------------------------- a job


def job_script(job: Job, setting: Setting) -> str:
    """What sbatch is given."""
    asked = setting.profile.of(job.stage)
    parts = [
        f"#!/usr/bin/env bash\n# {setting.title}: {_about(job)}",
        *(f"#SBATCH {option}" for option in _options(job, setting, asked)),
        "set -eo pipefail\n",
        *_surroundings(setting.profile, asked),
        'echo "job $SLURM_JOB_ID begins on $(hostname), restarts: ${SLURM_RESTART_COUNT:-0}"',
        *_table(job),
        "code=0",
        _start(job, setting, asked),
        _ending(job, setting.profile),
    ]
    return "\n".join(parts)


def _about(job: Job) -> str:
    units = {task.unit for task in job.tasks.values()}
    whole = all(task.only == task.step for task in job.tasks.values())
    return job.stage + ("" if whole else f", {', '.join(sorted(units))}")


def _options(job: Job, setting: Setting, asked: Resources) -> list[str]:
    profile = setting.profile
    options = {
        "job-name": job.name,
        "array": _array(tuple(job.tasks), profile) if job.is_array else None,
        "chdir": _quoted(str(setting.folder)),
        "output": _quoted(str(setting.logs).replace("%", "%%") + ("/%x-%A_%a.log" if job.is_array else "/%x-%j.log")),
        "open-mode": "append",
        "account": asked.account,
        "partition": asked.partition,
        "qos": asked.qos,
        "constraint": asked.constraint,
        "nodes": asked.n_nodes,
        **({"ntasks": 1} if asked.n_nodes == 1 else {"ntasks-per-node": 1}),
        "cpus-per-task": asked.cpus,
        "gres": f"gpu:{asked.gpus}" if asked.n_gpus else None,
        "mem": asked.mem,
        "time": asked.time,
        "signal": f"USR2@{profile.warning}",
        "kill-on-invalid-dep": "yes",
    }
    lines = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return [*lines, "--requeue", *asked.sbatch]


def _array(indices: Sequence[int], profile: Profile) -> str:
    limit = profile.at_once
    return index_range(indices) + (f"%{limit}" if limit is not None and len(indices) > limit else "")


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"\s", text) else text


def _surroundings(profile: Profile, asked: Resources) -> list[str]:
    each = max(1, (asked.cpus or 1) // asked.n_processes)
    threads = {"OMP_NUM_THREADS": str(each)}  # bytes are promised for equal thread counts
    lines = [f"module load {' '.join(profile.modules)}"] if profile.modules else []
    lines += [profile.setup.rstrip("\n")] if profile.setup.strip() else []
    lines += [f"export {name}={_expanding(value)}" for name, value in (threads | profile.environment).items()]
    return [*lines, 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"  # srun asks for one core otherwise']


def _expanding(text: str) -> str:
    """Quoted so that $NAMES are filled in and nothing else is."""
    escaped = re.sub(r'(["\\`]|\$\()', lambda found: "\\" + found[0], text)
    return f'"{escaped}"' if re.search(r"[^\w./:=+,-]", text) or not text else text


def _table(job: Job) -> list[str]:
    """What each task of an array makes."""
    if not job.is_array:
        return [""]
    rows = [f"  [{index}]='{task.only}'" for index, task in job.tasks.items()]
    return ["\nonly=(", *rows, ")\n"]


def _start(job: Job, setting: Setting, asked: Resources) -> str:
    """The lines that do the work: one process on each node, which starts those that share it there."""
    profile, nodes = setting.profile, asked.n_nodes
    srun = "srun" if nodes == 1 else "srun --kill-on-bad-exit=0"  # the first that is done must not end the others
    first = next(iter(job.tasks.values()))
    only = '"${only[SLURM_ARRAY_TASK_ID]}"' if job.is_array else shlex.quote(first.only)
    lines = [
        " ".join(part for part in (srun, profile.srun, profile.command or own_command()) if part),
        f"run {shlex.quote(setting.words[0])}",
        *([shlex.join(setting.words[1:])] if setting.words[1:] else []),
        f"--run {shlex.quote(str(setting.run))} --only {only}",
    ]
    flags = [] if nodes == asked.n_processes == 1 else ["--nproc", str(asked.n_processes)]
    flags += ["--device", "cuda"] if asked.n_gpus else []  # on a node whose GPU is lost it fails at once
    flags += ["--data-dir", str(setting.data_dir)] if setting.data_dir is not None else []
    flags += profile.arguments
    lines += [shlex.join(flags)] if flags else []
    lines += [f'--nodes {nodes} --rendezvous "$first:$port"'] if nodes > 1 else []
    return (_MEETING if nodes > 1 else "") + " \\\n  ".join(lines) + " || code=$?"


_MEETING = """
# Where the processes of all nodes meet; a port for each job, below those that systems give to connections.
read -r first < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000))

"""


def own_command() -> str:
    """How this very `ticket` is started, wherever PATH leads."""
    beside = Path(sys.executable).with_name("ticket")
    return shlex.join([str(beside)] if beside.is_file() else [sys.executable, "-m", "ticketcli"])


_ENDING = """
# 75: stopped in time, its state is saved; 140: the signal came before ticket listened. The job goes back into the
# queue and will continue, and those that wait for it go on waiting. A job that is being cancelled, or that SLURM puts
# back itself, is not RUNNING any more and is left alone.{why}
if [[ $code -eq 75 || $code -eq 140 ]]; then
  job={job}
  if [[ ${{SLURM_RESTART_COUNT:-0}} -ge {restarts} ]]; then
    echo "restarted $SLURM_RESTART_COUNT times: not continued again; 'ticket slurm submit' would" >&2
  elif [[ $(scontrol -o show job "$job") == *" JobState=RUNNING "* ]]; then
    scontrol requeue "$job"
  fi
fi
exit "$code"
"""


def _ending(job: Job, profile: Profile) -> str:
    if not job.is_array:
        return _ENDING.format(why="", job="$SLURM_JOB_ID", restarts=profile.restarts)
    why = "\n# One task of an array has the number of the whole array, so tasks are named by their index."
    place = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    return _ENDING.format(why=why, job=place, restarts=profile.restarts)


# ---------------------------------------------------------------------- all of them

_SUBMIT = """\
#!/usr/bin/env bash
# {title}: submits every job after those whose results it takes. 'ticket slurm submit' does the same, leaves out what is
# finished or queued, and 'ticket status' then shows the jobs.
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"
mkdir -p {logs}

declare -A id  # name -> number of the job
submit() {{    # a name, and what sbatch is told
  local name=$1 said
  shift
  said=$(sbatch --parsable "$@")
  id[$name]=${{said%%;*}}
  echo "${{id[$name]}} $name"
}}

"""


def submit_script(jobs: Sequence[Job], setting: Setting) -> str:
    """A line a job. A script that is submitted in parts, which wait for different things, has a name for each."""
    lines: list[str] = []
    names: set[str] = set()

    def submit(job: Job, indices: tuple[int, ...], dependency: str) -> str:
        name = job.name if job.name not in names else f"{job.name}:{index_range(indices)}"
        names.add(name)
        options = [shlex.quote(option) for option in sbatch_options(job, indices, "", setting.profile)]
        options += [f'"--dependency={dependency}"'] if dependency else []
        lines.append(" ".join(["submit", shlex.quote(name), *options, shlex.quote(file_of(job))]))
        return f"${{id[{name}]}}"

    submit_in_order(jobs, lambda _task: True, {}, submit)
    return _SUBMIT.format(title=setting.title, logs=shlex.quote(str(setting.logs))) + "\n".join(lines) + "\n"


def sbatch_options(job: Job, indices: Sequence[int], dependency: str, profile: Profile) -> list[str]:
    """What sbatch is told beside the script."""
    options = [f"--array={_array(indices, profile)}"] if job.is_array else []
    return [*options, *([f"--dependency={dependency}"] if dependency else [])]
