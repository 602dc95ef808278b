import pytest

from tests.cli.command_line import write
from ticketcli.errors import InputMissing, UsageError, UsageErrors
from ticketcli.launch.profile import Profile, clock, load_profile

SITE = """
account: vision
partition: gpu
time: 2h
gpus: a100:1
mem: 32G
modules: [python/3.11, cuda/12.4]
setup: |
  source ~/venv/bin/activate
environment: {TICKET_DATA: $SCRATCH/data, THREADS: 2}
stages:
  prune: {time: 1d12h, cpus: 8}
  evaluate: {gpus: 0, partition: cpu}
"""


def load(tmp_path, text):
    return load_profile(write(tmp_path / "site.yaml", text))


def test_a_stage_asks_for_its_own_where_it_says_so(tmp_path):
    site = load(tmp_path, SITE)
    prune, evaluate = site.of("prune"), site.of("evaluate")
    assert (prune.time, prune.cpus, prune.gpus, prune.account) == ("1-12:00:00", 8, "a100:1", "vision")
    assert (evaluate.time, evaluate.cpus, evaluate.gpus, evaluate.partition) == ("02:00:00", 4, 0, "cpu")


def test_processes_are_one_a_gpu_unless_their_number_is_said(tmp_path):
    site = load(tmp_path, "gpus: a100:4\nnodes: 2\nstages: {evaluate: {gpus: 0, nproc: 3}, transfer: {nodes: 1}}\n")
    found = {stage: (site.of(stage).n_nodes, site.of(stage).n_processes) for stage in ("prune", "evaluate", "transfer")}
    assert found == {"prune": (2, 4), "evaluate": (2, 3), "transfer": (1, 4)}
    assert Profile().of("prune").n_processes == 1


@pytest.mark.parametrize("stage", ["import", "rewind"])
def test_what_nobody_can_share_is_done_by_one(tmp_path, stage):
    asked = load(tmp_path, "gpus: 4\nnodes: 2\nnproc: 4\n").of(stage)
    assert (asked.n_nodes, asked.n_processes) == (1, 1)


def test_without_a_profile_there_are_defaults():
    asked = Profile().of("prune")
    assert (asked.time, asked.gpus, asked.cpus, asked.account) == ("04:00:00", 1, 4, None)
    assert load_profile(None) == Profile()


@pytest.mark.parametrize(
    ("text", "said"),
    [("90m", "01:30:00"), ("12h", "12:00:00"), ("1d", "1-00:00:00"), ("1d2h3min", "1-02:03:00"),
     ("12:00:00", "12:00:00"), ("2-01:00:00", "2-01:00:00")],
)  # fmt: skip
def test_wall_times_are_written_as_slurm_reads_them(text, said):
    assert clock(text) == said


@pytest.mark.parametrize("value", ["", "4", "h", "0h", 90, 43200, "4 hours", None])
def test_a_number_is_no_wall_time_since_yaml_and_slurm_would_read_it_differently(value):
    with pytest.raises(ValueError, match="no wall time; write 90m"):
        clock(value)


@pytest.mark.parametrize(
    ("text", "what", "where", "hint"),
    [
        ("acount: vision", "unknown key 'acount'", "site.yaml.acount", "did you mean 'account'?"),
        ("stages: {prune: {tiem: 4h}}", "unknown key 'tiem'", "stages.prune.tiem", "did you mean 'time'?"),
        ("stages: {prun: {time: 4h}}", "unknown stage 'prun'", "stages.prun", "did you mean 'prune'?"),
        ("mem: 32", "no memory", "mem", ""),
        ("gpus: -1", "no number of GPUs", "gpus", ""),
        ("partition: 'gpu; rm -rf ~'", "no single word", "partition", ""),
        ("sbatch: ['gres=x']", "no option of sbatch", "sbatch", ""),
        ("environment: {A-B: 1}", "no name with a text", "environment", ""),
        ("nodes: 0", "greater than or equal to 1", "nodes", ""),
        ("warning: 5", "greater than or equal to 10", "warning", ""),
    ],
)
def test_a_bad_profile_is_refused_with_place_and_way_out(tmp_path, text, what, where, hint):
    with pytest.raises(UsageErrors) as raised:
        load(tmp_path, text)
    assert raised.value.code == 2
    (error,) = raised.value.errors
    assert what in error.what
    assert error.where.endswith(where)
    assert hint in error.hint


def test_all_mistakes_are_told_at_once(tmp_path):
    with pytest.raises(UsageErrors) as raised:
        load(tmp_path, "acount: a\nmem: 3\nstages: {prun: {}}\n")
    assert len(raised.value.errors) == 3


@pytest.mark.parametrize("text", ["- partition", "stages: [prune]", "partition"])
def test_a_profile_is_a_mapping(tmp_path, text):
    with pytest.raises(UsageError, match="mapping"):
        load(tmp_path, text)


def test_a_profile_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(InputMissing, match="no such profile"):
        load_profile(tmp_path / "none.yaml")
