import re

import pytest

from tests.launch.recipes import STUDY, jobs
from ticketcli.launch.jobs import Place, Queued, index_range, submit_in_order


def needs(job):
    return {index: [(need.job, need.index) for need in task.needs] for index, task in job.tasks.items()}


def submitted(made, open_=lambda task: True, queued=None):
    """(job, indices, dependency) of each submission; a job's number is its name in <>."""
    said = []

    def submit(job, indices, dependency):
        said.append((job.name, index_range(indices), dependency))
        return f"<{job.name}>"

    submit_in_order(list(made.values()), open_, dict(queued or {}), submit)
    return said


def test_repetitions_are_an_array_and_rounds_a_chain():
    made = jobs()
    assert list(made) == [
        "dense", "dec", "ours-round-01", "ours-round-02", "ours-round-03", "ours-healed-03", "random-round-01",
        "random-round-02", "random-healed-02", "target@arm=dense", "target@arm=ours-2", "target@arm=ours-healed",
    ]  # fmt: skip
    assert [made["ours-round-02"].tasks[index].only for index in (0, 1, 2)] == [f"ours@seed={s}/2" for s in (0, 1, 2)]
    assert made["ours-healed-03"].tasks[1].only == "ours@seed=1/healed"
    assert made["dense"].tasks[2].only == "dense@seed=2"


def test_each_replicate_waits_for_its_own_round_alone():
    made = jobs()
    assert needs(made["ours-round-02"]) == {index: [("ours-round-01", index)] for index in range(3)}
    assert needs(made["target@arm=ours-2"]) == {index: [("ours-round-02", index)] for index in range(3)}
    assert needs(made["target@arm=ours-healed"]) == {index: [("ours-healed-03", index)] for index in range(3)}
    assert needs(made["target@arm=dense"]) == {index: [("dense", index)] for index in range(3)}


def test_who_takes_a_series_waits_for_the_last_round_that_it_takes():
    assert needs(jobs()["random-round-01"]) == {index: [("ours-round-02", index)] for index in range(3)}


def test_what_others_wait_for_anyway_is_not_named_again():
    """The decoder waits for the dense network, so who needs both names the decoder."""
    assert needs(jobs()["ours-round-01"]) == {index: [("dec", index)] for index in range(3)}


def test_every_unit_of_every_step_is_one_task_after_all_that_it_needs():
    made, before = jobs(), set()
    for job in made.values():
        for task in job.tasks.values():
            assert {(need.job, need.index) for need in task.needs} <= before
        before |= {(job.name, index) for index in job.tasks}
    tasks = [(task.step, task.unit) for job in made.values() for task in job.tasks.values()]
    assert len(tasks) == len(set(tasks)) == 3 * (1 + 1 + 4 + 3 + 3)


def test_arrays_that_pair_off_wait_task_by_task():
    said = submitted(jobs())
    assert ("ours-round-02", "0-2", "aftercorr:<ours-round-01>") in said
    assert said[0] == ("dense", "0-2", "")
    assert len(said) == len(jobs())


def test_a_single_job_is_waited_for_as_a_whole():
    said = submitted(jobs(STUDY, "for_each.seed=[0]"))
    assert ("ours-round-02", "0", "afterok:<ours-round-01>") in said


def test_repetitions_over_something_of_their_own_are_an_array_each():
    text = STUDY + "  t: {stage: transfer, for_each: {draw: [7, 8]}, seed: $draw, ticket: ours/1, data: digits}\n"
    said = [one for one in submitted(jobs(text)) if one[0].startswith("t@")]
    assert said == [(f"t@draw={draw}", "0-2", "aftercorr:<ours-round-01>") for draw in (7, 8)]


def test_repetitions_of_what_is_done_once_are_one_array():
    text = STUDY + "  t: {stage: transfer, for_each: {draw: [7, 8]}, seed: $draw, ticket: ours/1, data: digits}\n"
    said = [one for one in submitted(jobs(text, "for_each.seed=[0]")) if one[0] == "t"]
    assert said == [("t", "0-1", "afterok:<ours-round-01>")]


def test_a_step_that_needs_tasks_of_several_numbers_waits_for_those_alone():
    text = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits}
  ours: {stage: prune, encoder: dense, lambda: 0, rounds: 1, heal: 0ep, for_each: {seed: [0, 1, 2]}, seed: $seed}
  t: {stage: transfer, ticket: ours, data: digits, for_each: {seed: [2, 0]}}
"""
    made = jobs(text)
    assert needs(made["t"]) == {2: [("ours", 2)], 0: [("ours", 0)]}
    assert submitted(made)[-1] == ("t", "0,2", "aftercorr:<ours>")


def test_arms_of_unlike_lengths_share_the_rounds_that_they_have():
    text = STUDY.replace("rounds: 3, seed: $seed", "rounds: 3").replace(
        "decoder: dec}", "decoder: dec, for_each: {n: [1, 3]}, rounds: $n}"
    )
    text = re.sub(r"  random.*", "", text, flags=re.DOTALL)
    made = jobs(text, "for_each.seed=[0]")
    assert {name: sorted(job.tasks) for name, job in made.items() if name.startswith("ours")} == {
        "ours-round-01": [0, 1], "ours-round-02": [1], "ours-healed-01": [0], "ours-round-03": [1], "ours-healed-03": [1],
    }  # fmt: skip


def test_equal_steps_are_submitted_once():
    text = (
        STUDY
        + "  again: {stage: prune, encoder: dense, decoder: dec}\n  t: {stage: transfer, ticket: again/1, data: digits}\n"
    )
    made = jobs(text)
    assert not [name for name in made if name.startswith("again")]
    assert needs(made["t"]) == {index: [("ours-round-01", index)] for index in range(3)}


def test_only_what_is_open_is_submitted_and_waits_for_what_is_queued():
    made = jobs()
    rounds = {Place("ours-round-01", index): Queued("17", True) for index in (1, 2)}  # replicate 0 is finished
    said = submitted(made, lambda task: task.unit == "round-02" and task.step.startswith("ours"), rounds)
    assert said == [("ours-round-02", "0", ""), ("ours-round-02", "1-2", "aftercorr:17")]


@pytest.mark.parametrize("change", ["ours.rounds=5", "ours.heal=1ep"])
def test_more_rounds_leave_the_identity_of_those_before(change):
    before, after = jobs(), jobs(STUDY, change)
    for name in ("ours-round-03", "target@arm=ours-2", "random-round-02"):
        assert before[name].tasks[0].identity == after[name].tasks[0].identity, name


@pytest.mark.parametrize(
    ("change", "changed", "same"),
    [
        ("ours.lr=0.5", ["ours-round-01", "target@arm=ours-2", "random-round-01"], ["dec", "target@arm=dense"]),
        ("dense.lr=0.5", ["dense", "dec", "ours-round-01", "target@arm=ours-2"], []),
    ],
)
def test_a_changed_setting_changes_the_identity_of_all_that_hang_on_it(change, changed, same):
    before, after = jobs(), jobs(STUDY, change)
    for name in (*changed, *same):
        equal = before[name].tasks[0].identity == after[name].tasks[0].identity
        assert equal == (name in same), name


@pytest.mark.parametrize(("indices", "words"), [((0,), "0"), ((2, 0, 1), "0-2"), ((0, 1, 3, 5, 6), "0-1,3,5-6")])
def test_indices_as_sbatch_writes_them(indices, words):
    assert index_range(indices) == words


CROSSED = """
schema: 1
for_each: {seed: [0, 1], draw: [0, 1, 2]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  other: {stage: pretrain, data: digits, seed: $draw, lr: 0.5}
  ours: {stage: prune, encoder: dense, rewind: other, lambda: 0, rounds: 2}
  t: {stage: transfer, ticket: ours/1, data: digits}
"""
DRAWS = STUDY + "  t: {stage: transfer, for_each: {draw: [7, 8]}, seed: $draw, ticket: ours/1, data: digits}\n"


def waits_for(dependency, index):
    """What SLURM makes the task of this index wait for, as places; the numbers are names in <>."""
    places = set()
    for term in filter(None, dependency.split(",")):
        kind, number, at = re.fullmatch(r"(\w+):<(.*)>(?:_(\d+))?", term).groups()
        places.add((number, index if kind == "aftercorr" else int(at or 0)))
    return places


@pytest.mark.parametrize("text", [STUDY, CROSSED, DRAWS], ids=["study", "crossed", "draws"])
def test_what_slurm_is_told_to_wait_for_is_what_each_task_needs(text):
    made, found = jobs(text), []

    def submit(job, indices, dependency):
        for index in indices:
            assert waits_for(dependency, index) == {(need.job, need.index) for need in job.tasks[index].needs}
            found.append((job.name, index))
        return f"<{job.name}>"

    submit_in_order(list(made.values()), lambda task: True, {}, submit)
    assert sorted(found) == sorted((job.name, index) for job in made.values() for index in job.tasks)
