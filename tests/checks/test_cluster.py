import time

from ticketcli.checks.cluster import check_slurm


def test_without_slurm_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_slurm(tmp_path, {}) == []


def test_before_a_job_it_says_what_to_ask_for(tmp_path, program):
    program("sbatch", "")
    (found,) = check_slurm(tmp_path, {})
    assert "--signal=USR2@120 --requeue" in found.hint
    assert "75" in found.hint


def test_a_job_that_is_not_requeued_is_a_warning(tmp_path, program):
    environment = {"SLURM_JOB_ID": "17", "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
    program("scontrol", "echo 'JobId=17 Requeue=0 Restarts=0'")
    (found,) = check_slurm(tmp_path, environment)
    assert found.state == "warn"
    assert "job 17, ends in" in found.found
    program("scontrol", "echo 'JobId=17 Requeue=1 Restarts=0'")
    assert check_slurm(tmp_path, environment)[0].state == "ok"


def test_a_run_in_the_jobs_own_temporary_folder_is_a_warning(tmp_path):
    environment = {"SLURM_JOB_ID": "17", "TMPDIR": str(tmp_path)}
    assert any("emptied when the job ends" in found.hint for found in check_slurm(tmp_path / "run", environment))
    environment["TMPDIR"] = str(tmp_path / "elsewhere")
    assert len(check_slurm(tmp_path / "run", environment)) == 1
