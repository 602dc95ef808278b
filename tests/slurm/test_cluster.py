"""Rendered, submitted, cut and finished by a real SLURM, a recipe holds the bytes of a straight run."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cli.command_line import digests, ticket, write
from tests.slurm.cluster import Cluster, missing
from ticketcli.store.run_folder import Run

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=f"no SLURM here: {missing()}"),
]
RECIPE = """
schema: 1
for_each: {seed: [0, 1]}
defaults:
  pretrain: {batch: 16, epochs: 6it, milestones: [], lr: 0.05, data: {name: digits, classes: [0, 1, 2], per_class: 20}}
  prune: {batch: 16, lr: 0.02, finetune: 4it, heal: 2it, lambda: 0, rounds: 2, recalibrate_bn: 32}
  transfer: {batch: 16, epochs: 6it, milestones: [], lr: 0.02}
steps:
  dense: {stage: pretrain, seed: $seed}
  ours: {stage: prune, encoder: dense, rewind: none}
  target: {stage: transfer, ticket: ours/1, data: {name: digits, classes: [5, 6]}}
  long: {stage: pretrain, epochs: 80it}
"""
PROFILE = {
    "partition": "debug", "gpus": 0, "cpus": 1, "time": "10m", "arguments": ["--save-every", "0"],
    "command": f"{sys.executable} -m tests.slurm.slowly", "environment": {"PYTHONPATH": str(ROOT)},
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short name: the socket's path may have 107 bytes
    try:
        with Cluster(folder / "c") as found:
            yield found
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def there(cluster, tmp_path, monkeypatch):
    """A folder with recipe and profile, in which SLURM's commands are known."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "recipe.yaml", RECIPE)
    write(tmp_path / "profile.yaml", json.dumps(PROFILE))
    return tmp_path


def wait(what, done, cluster, *, seconds=240):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"{what}\n{cluster.ask('squeue', '-r', '--states=all')}\n{cluster.logs()}"
        time.sleep(0.1)


def edit(script, *, slowly, **options):
    """What a user would do with an editor: rest at every step until it is restarted, and other #SBATCH options."""
    text = script.read_text().replace("code=0\n", f"[[ -n $SLURM_RESTART_COUNT ]] || export SLOWLY={slowly}\ncode=0\n")
    lines = text.splitlines(keepends=True)
    for name, value in options.items():
        lines = [f"#SBATCH --{name}={value}\n" if line.startswith(f"#SBATCH --{name}=") else line for line in lines]
    script.write_text("".join(lines))


def submit(*words):
    result = ticket("slurm", "submit", "recipe.yaml", "--profile", "profile.yaml", "--json", *words)
    assert result.code == 0, result
    return {job["job"]: job["id"] for job in json.loads(result.out)["submitted"]}


def hurry(cluster, ids):
    """SLURM makes a requeued job wait for two minutes, in which what is left of it ends; here seconds do."""
    for line in cluster.ask("squeue", "-h", "-r", "-o", "%i|%T|%r").splitlines():
        task, state, reason = line.split("|")
        if (state, reason) == ("PENDING", "BeginTime") and task.partition("_")[0] in ids.values():
            time.sleep(2)
            cluster.ask("scontrol", "update", f"JobId={task}", "StartTime=now")


def finish(cluster, ids, run):
    def over():
        hurry(cluster, ids)
        return not cluster.ask("squeue", "-h", "-o", "%i").strip()

    wait("jobs are still queued", over, cluster)
    logs = "".join(f"--- {log.name}\n{log.read_text()}" for log in sorted((run / ".logs").iterdir()))
    assert ticket("status", "--check").code == 0, f"{ticket('status').out}\n{logs}"
    return logs


def cut(cluster, ids, run):
    """Requeue one round in its middle, and stop one task of another array; then say which."""
    round_2 = f"{ids['ours-round-02']}_0"
    found = {}

    def saved(step, unit):
        return [*run.glob(f"{step}/state/{unit}-*.safetensors")]

    def act():
        if "round" not in found and saved("ours@seed=0", "round-02"):
            found["round"] = round_2
            cluster.ask("scontrol", "requeue", round_2)
        if "task" not in found and all(saved(f"target@seed={seed}", "task") for seed in (0, 1)):
            numbers = {f"{ids['target']}_{index}": cluster.job(f"{ids['target']}_{index}")["JobId"] for index in (0, 1)}
            # One task of an array has the array's own number, by which `scontrol requeue` means all of them.
            found["task"] = next(task for task, number in numbers.items() if number == ids["target"])
            cluster.ask("scancel", "--signal=USR2", found["task"])
        return len(found) == 2

    wait("nothing to cut", act, cluster)
    for task in found.values():
        wait("what was cut is not requeued", lambda task=task: cluster.job(task)["Restarts"] == "1", cluster)
        array, _, index = task.partition("_")
        assert cluster.job(f"{array}_{1 - int(index)}")["Restarts"] == "0"
    return found


def test_cut_by_requeues_and_by_the_wall_time_the_run_holds_the_bytes_of_a_straight_one(cluster, there):
    assert ticket("slurm", "render", "recipe.yaml", "--profile", "profile.yaml").code == 0
    for name in ("ours-round-02", "target"):
        edit(there / "slurm" / f"{name}.sh", slowly=2)
    edit(there / "slurm" / "long.sh", slowly=0.5, time="1", signal="USR2@30")  # told within half a minute
    ids, run = submit(), there / "run"
    assert list(ids) == ["dense", "ours-round-01", "ours-round-02", "ours-healed-02", "target", "long"]
    assert "3 PENDING" in ticket("status").out
    found = cut(cluster, ids, run)
    logs = finish(cluster, ids, run)

    def log(job, task):
        return (run / ".logs" / f"{job}-{task}.log").read_text()

    assert "resume: round-02, step" in log("ours-round-02", found["round"]), logs
    assert "DUE TO JOB REQUEUE" in log("ours-round-02", found["round"]), logs
    assert "resume: task, step" in log("target", found["task"]), logs
    for word in ("restarts: 1", "stopped: SIGUSR2", "resume: dense, step"):
        assert word in log("long", ids["long"]), logs

    straight = ticket("run", "recipe.yaml", "--run", "straight", "-q")
    assert straight.code == 0, straight
    assert digests(Run(run)) == digests(Run(there / "straight"))
    assert ticket("verify").code == 0
    for metrics in sorted(Path("straight").glob("*/metrics.jsonl")):
        assert (run / metrics.parent.name / metrics.name).read_bytes() == metrics.read_bytes(), metrics
    assert submit() == {}


def test_a_cancelled_job_stays_cancelled_and_takes_those_that_wait_for_it_along(cluster, there):
    write(there / "profile.yaml", json.dumps(PROFILE | {"environment": PROFILE["environment"] | {"SLOWLY": "2"}}))
    ids = submit("--only", "dense@seed=0", "--only", "ours@seed=0/1")
    task = f"{ids['dense']}_0"
    wait("dense saves no state", lambda: [*there.glob("run/dense@seed=0/state/*.safetensors")], cluster)
    cluster.ask("scancel", task)
    waiting = f"{ids['ours-round-01']}_0"
    wait("the next job waits on", lambda: cluster.job(waiting)["JobState"] == "CANCELLED", cluster, seconds=60)
    wait("the job goes on", lambda: cluster.job(task)["JobState"] == "CANCELLED", cluster, seconds=60)
    assert cluster.job(task)["Restarts"] == "0"
    assert f"{task} CANCELLED" in ticket("status").out
    assert set(submit("--only", "dense@seed=0")) == {"dense"}
    cluster.empty()


def test_a_job_of_two_processes_stops_in_time_and_continues(cluster, there):
    shared = {"nproc": 2, "cpus": 2, "command": f"{sys.executable} -m ticketcli"}
    write(there / "profile.yaml", json.dumps(PROFILE | shared))
    ids = submit("long.epochs=150it", "--only", "long")
    wait("no state is saved", lambda: [*there.glob("run/long/state/*.safetensors")], cluster)
    cluster.ask("scancel", "--signal=USR2", ids["long"])
    wait("what was stopped is not requeued", lambda: cluster.job(ids["long"])["Restarts"] == "1", cluster)

    def over():
        hurry(cluster, ids)
        return cluster.job(ids["long"])["JobState"] == "COMPLETED"

    wait("it does not end", over, cluster)
    log = (there / "run" / ".logs" / f"long-{ids['long']}.log").read_text()
    for word in ("2 processes begin, 1 thread each", "stopped: SIGUSR2: dense, step", "resume: dense, step"):
        assert word in log, log
    assert ticket("verify").code == 0
