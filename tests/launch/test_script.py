"""The scripts are run here by bash, with an srun and an scontrol that only tell what they were asked."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.launch.recipes import STUDY, jobs
from ticketcli.launch.profile import Profile
from ticketcli.launch.script import Setting, job_script, scripts, submit_script


def setting(tmp_path, **profile):
    values = {"gpus": 0, "command": "ticket", **profile}
    return Setting(
        "study", ("/r/study-1.yaml", "ours.rounds=3"), tmp_path / "run", tmp_path / "run" / ".logs", tmp_path, None,
        Profile.parse(values, where="profile"),
    )  # fmt: skip


def put(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def play(tmp_path, job, *, code=0, state="RUNNING", environment=None, **profile):
    """Run a job's script; returns its exit code, what srun was told, and what scontrol was told to do."""
    programs, told = tmp_path / "bin", tmp_path / "told"
    told.unlink(missing_ok=True)
    put(programs, "srun", f'echo "srun $*" >> {told}; exit {code}')
    put(
        programs,
        "scontrol",
        f"""
case "$1 $2" in
  "show hostnames") [ "$3" = "n[3-4]" ] && printf 'n3\\nn4\\n' ;;
  "-o show") echo "JobId=1 JobState={state} Reason=None" ;;
  *) echo "scontrol $*" >> {told} ;;
esac""",
    )
    path = tmp_path / "job.sh"
    path.write_text(job_script(job, setting(tmp_path, **profile)))
    variables = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "17", **(environment or {})}
    done = subprocess.run(["bash", path], env=variables, capture_output=True, text=True, check=False)
    lines = told.read_text().splitlines() if told.is_file() else []
    assert "unbound" not in done.stderr
    srun = [line for line in lines if line.startswith("srun")]
    return done.returncode, srun, [line for line in lines if line.startswith("scontrol")]


IN_ARRAY = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"}


@pytest.fixture
def single():
    return jobs(STUDY, "for_each.seed=[0]")["ours-round-02"]


@pytest.fixture
def array():
    return jobs()["ours-round-02"]


def test_a_task_of_an_array_makes_its_own_round(tmp_path, array):
    code, (srun,), _ = play(tmp_path, array, environment=IN_ARRAY)
    assert code == 0
    assert srun == f"srun ticket run /r/study-1.yaml ours.rounds=3 --run {tmp_path}/run --only ours@seed=2/2"


def test_a_single_job_makes_its_round(tmp_path, single):
    _, (srun,), _ = play(tmp_path, single)
    assert srun.endswith("--only ours@seed=0/2")


@pytest.mark.parametrize("code", [75, 140])
def test_a_job_that_was_stopped_in_time_goes_back_into_the_queue(tmp_path, single, code):
    assert play(tmp_path, single, code=code)[2] == ["scontrol requeue 17"]


def test_a_task_goes_back_alone_though_it_has_the_number_of_its_array(tmp_path, array):
    assert play(tmp_path, array, code=75, environment=IN_ARRAY)[2] == ["scontrol requeue 17_2"]


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING"])
def test_a_job_that_is_cancelled_or_put_back_by_slurm_is_left_alone(tmp_path, single, state):
    assert play(tmp_path, single, code=75, state=state)[2] == []


def test_the_bound_ends_a_job_that_would_never_end(tmp_path, single):
    assert play(tmp_path, single, code=75, restarts=2, environment={"SLURM_RESTART_COUNT": "1"})[2] != []
    code, _, asked = play(tmp_path, single, code=75, restarts=2, environment={"SLURM_RESTART_COUNT": "2"})
    assert (code, asked) == (75, [])


@pytest.mark.parametrize("code", [0, 1, 2, 5, 7, 8, 9])
def test_every_other_ending_is_the_jobs_own(tmp_path, single, code):
    assert play(tmp_path, single, code=code)[::2] == (code, [])


def test_processes_of_one_node_are_started_by_ticket(tmp_path, single):
    _, (srun,), _ = play(tmp_path, single, gpus=4, cpus=32)
    assert srun.startswith("srun ticket run ")
    assert srun.endswith(" --nproc 4 --device cuda")
    text = (tmp_path / "job.sh").read_text()
    assert "--ntasks=1\n" in text
    assert "OMP_NUM_THREADS=8\n" in text


SEVERAL = {"nodes": 2, "gpus": "a100:4", "cpus": 32}
NODES = {"SLURM_JOB_NODELIST": "n[3-4]"}


def test_processes_of_several_nodes_meet_on_the_first(tmp_path, single):
    _, (srun,), _ = play(tmp_path, single, environment=NODES, **SEVERAL)
    assert srun.startswith("srun --kill-on-bad-exit=0 ticket run ")
    assert srun.endswith(" --nproc 4 --device cuda --nodes 2 --rendezvous n3:20017")
    text = (tmp_path / "job.sh").read_text()
    for option in ("--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=32", "--gres=gpu:a100:4", "--signal=USR2@120"):
        assert f"#SBATCH {option}\n" in text
    assert "--ntasks=1\n" not in text


def test_jobs_that_run_at_once_meet_at_different_ports(tmp_path, array):
    ports = {
        play(tmp_path, array, environment=IN_ARRAY | NODES | {"SLURM_JOB_ID": str(job)}, **SEVERAL)[1][0].split(":")[-1]
        for job in (9999, 10000, 10001, 123456789)
    }
    assert ports == {"29999", "20000", "20001", "26789"}


def test_a_job_of_several_nodes_that_stopped_in_time_goes_back_into_the_queue(tmp_path, single):
    assert play(tmp_path, single, code=75, environment=NODES, **SEVERAL)[2] == ["scontrol requeue 17"]


def test_the_site_decides_what_surrounds_the_work(tmp_path, single):
    site = setting(
        tmp_path, setup="export FROM_SETUP=yes", command="apptainer exec ticket.sif ticket", srun="--mpi=none",
        environment={"TICKET_DATA": "$BASE/my data", "OMP_NUM_THREADS": 3, "ODD": 'a"b`c$(d)'},
        arguments=["--workers", "0"],
    )  # fmt: skip
    put(tmp_path / "bin", "srun", 'echo "srun $*"; env')
    (tmp_path / "job.sh").write_text(job_script(single, site))
    variables = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "17", "BASE": "/scratch"}
    done = subprocess.run(["bash", tmp_path / "job.sh"], env=variables, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[1].startswith("srun --mpi=none apptainer exec ticket.sif ticket run ")
    assert said[1].endswith(" --workers 0")
    expected = {
        "FROM_SETUP=yes",
        "TICKET_DATA=/scratch/my data",
        "OMP_NUM_THREADS=3",
        'ODD=a"b`c$(d)',
        "SRUN_CPUS_PER_TASK=1",
    }
    assert expected <= {*said}


def test_a_job_asks_for_what_the_profile_says(tmp_path, array):
    text = job_script(
        array,
        setting(tmp_path, account="vision", time="2h", gpus=1, mem="32G", at_once=2, warning=300,
                sbatch=["--mail-type=FAIL"], stages={"prune": {"cpus": 8}}),
    )  # fmt: skip
    for option in (
        "--job-name=ours-round-02", "--array=0-2%2", "--account=vision", "--time=02:00:00", "--gres=gpu:1",
        "--mem=32G", "--cpus-per-task=8", "--signal=USR2@300", "--requeue", "--open-mode=append", "--mail-type=FAIL",
        "--kill-on-invalid-dep=yes", f"--output={tmp_path}/run/.logs/%x-%A_%a.log", f"--chdir={tmp_path}",
    ):  # fmt: skip
        assert f"#SBATCH {option}\n" in text
    assert "--device cuda" in text
    assert "OMP_NUM_THREADS=8" in text


def test_options_stand_before_the_first_command_where_sbatch_looks_for_them(tmp_path, array):
    lines = job_script(array, setting(tmp_path)).splitlines()
    first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    assert not [line for line in lines[first:] if line.startswith("#SBATCH")]


def test_submit_sh_submits_in_order_with_the_numbers_that_it_was_given(tmp_path):
    made = list(jobs().values())
    (tmp_path / "submit.sh").write_text(submit_script(made, setting(tmp_path)))
    told = tmp_path / "told"
    put(tmp_path / "bin", "sbatch", f'echo "$*" >> {told}; echo "$((100 + $(wc -l < {told})));cluster"')
    path = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "submit.sh"], cwd=tmp_path, env=path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["101 dense", "102 dec"]
    lines = told.read_text().splitlines()
    assert lines[0] == "--parsable --array=0-2 dense.sh"
    assert lines[3] == "--parsable --array=0-2 --dependency=aftercorr:103 ours-round-02.sh"
    assert lines[10] == "--parsable --array=0-2 --dependency=aftercorr:104 target@arm=ours-2.sh"
    assert (tmp_path / "run" / ".logs").is_dir()


@pytest.mark.parametrize("checker", [("bash", "-n"), ("shellcheck",)], ids=lambda words: words[0])
@pytest.mark.parametrize("where", ["plain", "with blank"])
def test_scripts_are_good_shell(tmp_path, checker, where):
    if shutil.which(checker[0]) is None:
        pytest.skip(f"{checker[0]} is not installed")
    there = replace(
        setting(tmp_path, gpus=2, stages={"prune": {"nodes": 2}}, modules=["cuda/12"], environment={"A": "$B/c d"}),
        run=Path("/r") / where,
    )
    for name, text in scripts(list(jobs().values()), there).items():
        (tmp_path / name).write_text(text)
        done = subprocess.run([*checker, tmp_path / name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
