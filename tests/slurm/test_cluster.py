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
  long: {stage: pretrain, epochs: 160it}
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
    """What a user would do with an editor: rest at every step, and other #SBATCH options."""
    text = script.read_text().replace("code=0\n", f"export SLOWLY={slowly}\ncode=0\n")
    lines = text.splitlines(keepends=True)
    for name, value in options.items():
        lines = [f"#SBATCH --{name}={value}\n" if line.startswith(f"#SBATCH --{name}=") else line for line in lines]
    script.write_text("".join(lines))


def submit(*words):
    result = ticket("slurm", "submit", "recipe.yaml", "--profile", "profile.yaml", "--json", *words)
    assert result.code == 0, result
    return {job["job"]: job["id"] for job in json.loads(result.out)["submitted"]}


def hurry(cluster, ids):
    """SLURM makes a requeued job wait for two minutes; here it need not."""
    for line in cluster.ask("squeue", "-h", "-r", "-o", "%i|%r").splitlines():
        task, _, reason = line.partition("|")
        if reason == "BeginTime" and task.partition("_")[0] in ids.values():
            cluster.ask("scontrol", "update", f"JobId={task}", "StartTime=now")


def finish(cluster, ids, run):
    def over():
        hurry(cluster, ids)
        return not cluster.ask("squeue", "-h", "-o", "%i").strip()

    wait("jobs are still queued", over, cluster)
    logs = "".join(f"--- {log.name}\n{log.read_text()}" for log in sorted((run / ".logs").iterdir()))
    assert ticket("status", "--check").code == 0, f"{ticket('status').out}\n{logs}"
    return logs


def test_cut_by_a_requeue_and_by_the_wall_time_the_run_holds_the_bytes_of_a_straight_one(cluster, there):
    assert ticket("slurm", "render", "recipe.yaml", "--profile", "profile.yaml").code == 0
    edit(there / "slurm" / "ours-round-02.sh", slowly=1)
    edit(there / "slurm" / "long.sh", slowly=0.25, time="1", signal="USR2@30")  # told within half a minute
    ids = submit()
    assert list(ids) == ["dense", "ours-round-01", "ours-round-02", "ours-healed-02", "target", "long"]
    run = there / "run"
    assert "3 PENDING" in ticket("status").out

    task = f"{ids['ours-round-02']}_0"
    wait("round 2 saves no state", lambda: [*run.glob("ours@seed=0/state/round-02-*.safetensors")], cluster)
    cluster.ask("scontrol", "requeue", task)
    cut = time.monotonic()
    wait("the task is not requeued", lambda: cluster.job(task)["Restarts"] == "1", cluster)
    assert cluster.job(f"{ids['ours-round-02']}_1")["Restarts"] == "0"

    logs = finish(cluster, ids, run)
    assert time.monotonic() - cut < 240
    assert "resume: round-02, step" in (run / ".logs" / f"ours-round-02-{task}.log").read_text()
    long = (run / ".logs" / f"long-{ids['long']}.log").read_text()
    assert "restarts: 1" in long, logs
    assert "stopped: SIGUSR2" in long, logs
    assert "resume: dense, step" in long, logs

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


def test_a_task_that_stops_goes_back_into_the_queue_alone(cluster, there):
    """One task of an array has the array's own number, by which `scontrol requeue` means all of them."""
    write(there / "profile.yaml", json.dumps(PROFILE | {"environment": PROFILE["environment"] | {"SLOWLY": "1"}}))
    ids = submit("--only", "dense")
    for seed in (0, 1):
        state = f"run/dense@seed={seed}/state/*.safetensors"
        wait("dense saves no state", lambda state=state: [*there.glob(state)], cluster)
    same = next(index for index in (0, 1) if cluster.job(f"{ids['dense']}_{index}")["JobId"] == ids["dense"])
    cluster.ask("scancel", "--signal=USR2", f"{ids['dense']}_{same}")
    wait("the task goes on", lambda: cluster.job(f"{ids['dense']}_{same}")["Restarts"] == "1", cluster)
    assert cluster.job(f"{ids['dense']}_{1 - same}")["Restarts"] == "0"
    finish_dense = [f"run/dense@seed={seed}/dense.safetensors" for seed in (0, 1)]

    def made():
        hurry(cluster, ids)
        return all((there / path).is_file() for path in finish_dense) and not cluster.ask("squeue", "-h").strip()

    wait("dense is not made", made, cluster)
