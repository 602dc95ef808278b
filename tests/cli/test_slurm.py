"""`ticket slurm` with an sbatch and a squeue that only remember; with a real SLURM: tests/slurm/."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.command_line import ticket, write
from ticketcli.launch.record import RECORD

SBATCH = """
if [ -n "$REFUSE" ]; then echo "sbatch: error: $REFUSE" >&2; exit 1; fi
echo "$*" >> {folder}/told
number=$((100 + $(wc -l < {folder}/told)))
for last in "$@"; do :; done
echo "$number $(basename "$last" .sh)" >> {folder}/numbers
echo $number
"""
# Every job is in the state that the file of its number says, PENDING where there is none.
SQUEUE = """
while read number name; do
  state=$(cat {folder}/state.$number 2>/dev/null || echo PENDING)
  echo "$number|$name|$state|None"
  for task in 0 1 2; do echo "${{number}}_$task|$name|$state|None"; done
done < {folder}/numbers
"""


class Queue:
    """A SLURM that runs nothing."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "numbers").touch()
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE)):
            (folder / name).write_text("#!/bin/sh" + text.format(folder=folder))
            (folder / name).chmod(0o755)

    def told(self):
        return (self.folder / "told").read_text().splitlines() if (self.folder / "told").exists() else []

    def end(self, number, state):
        (self.folder / f"state.{number}").write_text(state)


@pytest.fixture
def queue(tmp_path, monkeypatch):
    found = Queue(tmp_path / "slurm-programs")
    monkeypatch.setenv("PATH", f"{found.folder}:/usr/bin:/bin")
    monkeypatch.setattr("ticketcli.launch.queue._remembered", lambda gone: {})
    return found


@pytest.fixture
def there(tmp_path, monkeypatch):
    """Work in a folder of one's own, where the defaults for --run and --to lie."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def submit(recipe, *words):
    result = ticket("slurm", "submit", recipe, *words, "--json")
    return result, json.loads(result.out)["submitted"] if result.code == 0 else None


def test_render_writes_a_script_a_job_and_submits_nothing(tiny_recipe, there, queue):
    result = ticket("slurm", "render", tiny_recipe, "--json")
    assert result.code == 0, result
    told = json.loads(result.out)
    assert {job["job"]: job["after"] for job in told["jobs"]}["back"] == "ours-round-02"
    scripts = {path.name for path in (there / "slurm").glob("*.sh")}
    assert scripts == {f"{job['job']}.sh" for job in told["jobs"]} | {"submit.sh"}
    assert os.access(there / "slurm" / "submit.sh", os.X_OK)
    assert not (there / "run").exists()
    assert queue.told() == []


def test_a_dry_run_writes_and_submits_nothing(tiny_recipe, there, queue):
    for command in ("render", "submit"):
        result = ticket("slurm", command, tiny_recipe, "--dry-run")
        assert result.code == 0, result
        assert "ours-round-02" in result.out
    assert list(there.iterdir()) == []
    assert queue.told() == []


def test_submit_hands_over_every_job_once_each_after_what_it_needs(tiny_recipe, there, queue):
    result, jobs = submit(tiny_recipe)
    assert result.code == 0, result
    ids = {job["job"]: job["id"] for job in jobs}
    assert {job["job"]: job["dependency"] for job in jobs}["ours-round-02"] == f"afterok:{ids['ours-round-01']}"
    assert f"--parsable --dependency=afterok:{ids['ours-round-02']} slurm/back.sh" in queue.told()
    assert len(queue.told()) == len(jobs) == len(ids)
    assert (there / "run" / ".logs").is_dir()
    assert len(json.loads((there / "run" / RECORD).read_text())["jobs"]) == len(jobs)


def test_what_is_queued_is_not_submitted_again(tiny_recipe, there, queue):
    _, first = submit(tiny_recipe)
    result, second = submit(tiny_recipe)
    assert (result.code, second) == (0, [])
    assert len(queue.told()) == len(first)


def test_what_failed_is_submitted_again_and_waits_for_what_is_queued(tiny_recipe, there, queue):
    ids = {job["job"]: job["id"] for job in submit(tiny_recipe)[1]}
    for name in ("plain-round-02", "plain-round-03", "plain-healed-03"):
        queue.end(ids[name], "FAILED" if name == "plain-round-02" else "CANCELLED")
    _, again = submit(tiny_recipe)
    assert [job["job"] for job in again] == ["plain-round-02", "plain-round-03", "plain-healed-03"]
    assert again[0]["dependency"] == f"afterok:{ids['plain-round-01']}"
    assert again[1]["dependency"] == f"afterok:{again[0]['id']}"


def test_what_is_made_is_not_submitted_and_not_waited_for(tiny_recipe, there, queue):
    assert ticket("run", tiny_recipe, "--only", "dense", "--only", "dec", "-q").code == 0
    _, jobs = submit(tiny_recipe, "--only", "ours/2")
    assert [(job["job"], job["dependency"]) for job in jobs] == [
        ("ours-round-01", ""),
        ("ours-round-02", "afterok:101"),
    ]


def test_a_named_step_that_is_queued_is_refused_with_its_job(tiny_recipe, there, queue):
    submit(tiny_recipe, "--only", "dense")
    result, _ = submit(tiny_recipe, "--only", "dense")
    assert result.code == 7
    assert "'dense@seed=0' is queued already, as job 101" in result.err
    assert "scancel 101" in result.err


def test_a_named_step_needs_what_it_takes_made_or_queued(tiny_recipe, there, queue):
    result, _ = submit(tiny_recipe, "--only", "dec")
    assert result.code == 5
    assert "'dec@seed=0' needs 'dense@seed=0', which is neither made nor queued" in result.err
    assert "--only dense@seed=0" in result.err
    assert queue.told() == []


def test_a_recipe_that_changed_since_submission_is_refused_and_nothing_is_written(tiny_recipe, there, queue):
    submit(tiny_recipe, "--only", "dense")
    before = {path: path.read_bytes() for path in (there / "slurm").iterdir()}
    result, _ = submit(tiny_recipe, "dense.lr=0.5")
    assert result.code == 3
    assert "the recipe has changed since 'dense@seed=0' was submitted, as job 101" in result.err
    assert "scancel 101" in result.err
    assert {path: path.read_bytes() for path in (there / "slurm").iterdir()} == before
    queue.end(101, "CANCELLED")
    assert submit(tiny_recipe, "dense.lr=0.5")[0].code == 0


def test_queued_jobs_keep_the_recipe_that_they_were_submitted_with(tiny_recipe, there, queue):
    mine = write(there / "mine.yaml", tiny_recipe.read_text())
    submit(mine)
    (copy,) = (there / "slurm").glob("mine-*.yaml")
    assert str(copy) in (there / "slurm" / "dense.sh").read_text()
    text = copy.read_text()
    mine.write_text(text + "\n# changed\n")
    assert ticket("slurm", "render", mine).code == 0
    assert copy.read_text() == text
    assert len(list((there / "slurm").glob("mine-*.yaml"))) == 2


def test_more_rounds_may_be_submitted_while_the_first_are_queued(tiny_recipe, there, queue):
    never = ("plain.heal=0ep", "random.heal=0ep")
    ids = {job["job"]: job["id"] for job in submit(tiny_recipe, *never)[1]}
    result, jobs = submit(tiny_recipe, *never, "plain.rounds=5")
    assert result.code == 0, result
    assert [(job["job"], job["dependency"]) for job in jobs] == [
        ("plain-round-04", f"afterok:{ids['plain-round-03']}"), ("plain-round-05", f"afterok:{jobs[0]['id']}")
    ]  # fmt: skip


def test_an_edited_script_is_submitted_as_it_is(tiny_recipe, there, queue):
    ticket("slurm", "render", tiny_recipe)
    script = there / "slurm" / "dense.sh"
    script.write_text(script.read_text() + "# mine\n")
    result, _ = submit(tiny_recipe)
    assert result.code == 0, result
    assert "kept as edited: dense.sh" in result.err
    assert script.read_text().endswith("# mine\n")


def test_an_edited_script_of_another_recipe_is_neither_lost_nor_submitted(tiny_recipe, there, queue):
    ticket("slurm", "render", tiny_recipe)
    script = there / "slurm" / "dense.sh"
    script.write_text(script.read_text() + "# mine\n")
    for command in ("render", "submit"):
        result = ticket("slurm", command, tiny_recipe, "dense.lr=0.5")
        assert result.code == 3, result
        assert "dense.sh" in result.err
        assert "--force" in result.err
    assert queue.told() == []
    assert "dense.lr" not in (there / "slurm" / "dec.sh").read_text()
    assert ticket("slurm", "render", tiny_recipe, "dense.lr=0.5", "--force").code == 0
    assert "# mine" not in script.read_text()


def test_without_sbatch_it_says_where_to_go(tiny_recipe, there, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = ticket("slurm", "submit", tiny_recipe)
    assert result.code == 5
    assert "sbatch is not here" in result.err
    assert "login node" in result.err
    assert list(there.iterdir()) == []


def test_a_job_that_sbatch_refuses_ends_it_and_the_same_command_goes_on(tiny_recipe, there, queue, monkeypatch):
    (queue.folder / "sbatch").write_text(
        (queue.folder / "sbatch").read_text().replace("number=", f'[ $(wc -l < {queue.folder}/told) = 3 ] && REFUSE="Invalid account"\n'
        'if [ -n "$REFUSE" ]; then echo "sbatch: error: $REFUSE" >&2; exit 1; fi\nnumber=', 1)
    )  # fmt: skip
    result, _ = submit(tiny_recipe)
    assert result.code == 2
    assert "sbatch refuses: Invalid account" in result.err
    assert "ours-round-01.sh" in result.err
    result, jobs = submit(tiny_recipe)
    assert result.code == 0, result
    assert [jobs[0]["job"], jobs[0]["dependency"]] == ["ours-round-01", "afterok:102"]


def test_a_slurm_that_does_not_answer_is_missing(tiny_recipe, there, queue, monkeypatch):
    monkeypatch.setenv("REFUSE", "Batch job submission failed: Unable to contact slurm controller (connect failure)")
    result, _ = submit(tiny_recipe)
    assert result.code == 5
    assert "SLURM does not answer: Batch job submission failed" in result.err


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["--only", "denes"], "no step 'denes' in the recipe", "did you mean 'dense'?"),
        (["--only", "ours/9"], "'ours@seed=0' makes no '9'", "known: 1, 2, 3, healed"),
        (["--profile", "none.yaml"], "no such profile", "Clusters"),
        (["--profile", "bad.yaml"], "unknown key 'acount'", "did you mean 'account'?"),
    ],
)
def test_bad_words_are_refused_before_anything_is_written(tiny_recipe, there, queue, words, what, hint):
    bad = write(there / "bad.yaml", "acount: vision\n")
    result = ticket("slurm", "submit", tiny_recipe, *words)
    assert result.code == (5 if "none.yaml" in words else 2)
    assert what in result.err
    assert hint in result.err
    assert [path for path in there.rglob("*") if path != bad and path.is_file()] in (
        [],
        [there / "run/.locks/.submission.lock"],
    )
    assert queue.told() == []


def test_gpus_that_would_idle_are_told(tiny_recipe, there, queue):
    profile = write(there / "site.yaml", "gpus: 1\nstages: {prune: {gpus: 'a100:4', nproc: 2}}\n")
    result = ticket("slurm", "render", tiny_recipe, "--profile", profile)
    assert "note: a process uses one GPU; more are asked for by prune\n" in result.err
    assert "#SBATCH --gres=gpu:a100:4\n" in (there / "slurm" / "ours-round-01.sh").read_text()
    assert "note:" not in ticket("slurm", "render", tiny_recipe).err


def test_two_submissions_at_once_are_one(tiny_recipe, there, queue):
    code = f"import fcntl, sys; lock = open({str(there / 'run/.locks/.submission.lock')!r}, 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    (there / "run" / ".locks").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        result, _ = submit(tiny_recipe)
        other.communicate(b"")
    assert result.code == 7
    assert "the submission of this run" in result.err


def test_a_damaged_record_is_told(tiny_recipe, there, queue):
    submit(tiny_recipe, "--only", "dense")
    write(there / "run" / RECORD, '{"jobs": [{"id": 1}]}')
    assert submit(tiny_recipe)[0].code == 6
    assert ticket("status").code == 6


def test_status_shows_the_jobs_of_each_step(tiny_recipe, there, queue):
    ids = {job["job"]: job["id"] for job in submit(tiny_recipe)[1]}
    queue.end(ids["ours-round-01"], "RUNNING")
    queue.end(ids["dec"], "FAILED")
    write(there / "run" / ".logs" / f"dec-{ids['dec']}.log", "")
    result = ticket("status")
    lines = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    assert lines["ours@seed=0"].endswith(f"{ids['ours-round-01']} RUNNING, 3 PENDING")
    assert lines["dec@seed=0"].endswith(f"{ids['dec']} FAILED, see .logs/dec-{ids['dec']}.log")
    told = {step["step"]: step["jobs"] for step in json.loads(ticket("status", "--json").out)["steps"]}
    assert [job["state"] for job in told["ours@seed=0"]] == ["RUNNING", "PENDING", "PENDING", "PENDING"]
    assert told["dense@seed=0"][0]["id"] == ids["dense"]


def test_status_needs_no_slurm(tiny_recipe, there, queue, monkeypatch, tmp_path):
    submit(tiny_recipe, "--only", "dense")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = ticket("status")
    assert result.code == 0
    assert "101 unknown" in result.out
    assert json.loads(ticket("status", "--json").out)["steps"][0]["jobs"][0]["state"] is None


def test_a_job_of_the_same_number_and_another_name_is_not_ours(tiny_recipe, there, queue):
    submit(tiny_recipe, "--only", "dense")
    write(queue.folder / "numbers", "101 something-else\n")
    assert [job["job"] for job in submit(tiny_recipe, "--only", "dense")[1]] == ["dense"]
