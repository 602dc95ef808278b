import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.small_job import SETTINGS, prune_job, run_prune
from ticketcli.errors import CorruptError, UsageErrors
from ticketcli.events import Progress
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stage import PRUNE
from ticketcli.stages.prune import prune
from ticketcli.tensors.files import read_state, write_state
from ticketcli.training.yields import Produced, Snapshot


def config(**settings):
    return PruneConfig.parse(settings, where="prune")


def walk(settings, total):
    """Living weights after each round."""
    living, counts = total, []
    for number in range(1, settings.n_rounds + 1):
        living = settings.kept_after(number, living=living, total=total)
        counts.append(living)
    return counts


@given(st.floats(0.05, 0.99), st.floats(0.05, 0.9), st.integers(10_000, 30_000_000))
def test_rounds_to_a_sparsity_end_at_exactly_that_count_and_each_drops_something(to_sparsity, fraction, total):
    settings = config(to_sparsity=to_sparsity, fraction=fraction)
    counts = walk(settings, total)
    assert counts[-1] == total - round(to_sparsity * total)
    assert all(before > after for before, after in zip([total, *counts], counts, strict=False))
    assert counts[:-1] == walk(config(fraction=fraction, rounds=len(counts)), total)[:-1]


@pytest.mark.parametrize(("to_sparsity", "rounds"), [(0.2, 1), (0.36, 2), (0.8, 8), (0.9, 11), (0.95, 14)])
def test_a_whole_number_of_rounds_is_not_rounded_up(to_sparsity, rounds):
    assert config(to_sparsity=to_sparsity).n_rounds == rounds


@given(st.floats(0.05, 0.99), st.integers(1, 50))
def test_gmp_follows_zhu_and_guptas_cubic(to_sparsity, rounds):
    total = 1_000_000
    counts = walk(config(schedule="gmp", to_sparsity=to_sparsity, rounds=rounds), total)
    for number, kept in enumerate(counts, 1):
        expected = to_sparsity + (0 - to_sparsity) * (1 - number / rounds) ** 3
        assert 1 - kept / total == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"schedule": "gmp"}, "needs to_sparsity"),
        ({"schedule": "one-shot"}, "needs to_sparsity"),
        ({"schedule": "gmp", "to_sparsity": 0.8, "rewind": "init"}, "never rewinds"),
        ({"schedule": "gmp", "to_sparsity": 0.8, "criterion": "random", "like": "ours"}, "schedule: lth only"),
        ({"to_sparsity": 1.0}, "less than 1"),
        ({"loss": "cls", "target": "placebo"}, "with a reconstruction"),
        ({"target": "placebo", "batch": 1}, "2 or more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(UsageErrors, match=words):
        config(**settings)


def keys(**settings):
    settings = config(**settings)
    return {unit.name: settings.identity(without=unit.ignores) for unit in PRUNE.units(settings)}


def test_a_higher_sparsity_keeps_the_full_rounds_and_redoes_the_fractional_one():
    lower, higher = keys(to_sparsity=0.75), keys(to_sparsity=0.9)
    assert list(lower) == [*(f"round-{number:02d}" for number in range(1, 8)), "healed-07"]
    assert [name for name in lower if lower[name] == higher.get(name)] == [f"round-{n:02d}" for n in range(1, 7)]


def test_rounds_without_an_aim_are_the_first_rounds_with_one():
    assert keys(rounds=4)["round-04"] == keys(to_sparsity=0.9)["round-04"]


def test_one_shot_prunes_once_and_rewinds_and_heals():
    produced, steps = run_prune(schedule="one-shot", to_sparsity=0.8, **{"lambda": 0})
    assert list(produced) == ["round-01", "healed-01"]
    assert steps == 4
    assert produced["round-01"].outputs[0].values == "encoder"
    assert produced["round-01"].metrics["sparsity"] == pytest.approx(0.8, abs=1e-5)


GMP = {"schedule": "gmp", "to_sparsity": 0.9, "rounds": 3, "lambda": 0, "heal": "2it"}


def test_gmp_is_one_training_that_ends_at_the_asked_sparsity_with_dead_weights_at_zero():
    produced, steps = run_prune(**GMP)
    output = produced["gmp"].outputs[0]
    assert steps == 3 * 2 + 2
    assert output.mask.kept == output.mask.total - round(0.9 * output.mask.total)
    for name, alive in output.mask.items():
        dead = output.values[name][torch.from_numpy(~alive)]
        assert not dead.any()
        assert not torch.signbit(dead).any()


def test_gmp_without_a_first_finetune_prunes_before_the_first_step():
    _, steps = run_prune(**{**GMP, "first_finetune": False})
    assert steps == 2 * 2 + 2


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 7])
def test_gmp_cut_at_any_step_and_resumed_ends_in_the_same_bytes(tmp_path, cut, optimizer):
    settings = {**GMP, "optimizer": optimizer}
    straight = run_prune(**settings)[0]["gmp"].outputs[0]
    taken = 0
    for event in prune(prune_job(**settings)):
        taken += isinstance(event, Snapshot)
        if taken == cut:
            write_state(tmp_path / "state", event.capture(), about={})
            break
    resumed = run_prune(resume=read_state(tmp_path / "state")[0], **settings)[0]["gmp"].outputs[0]
    assert resumed.mask == straight.mask
    assert all(torch.equal(value, straight.values[name]) for name, value in resumed.values.items())


def test_the_optimisers_state_of_a_fallen_weight_is_zeroed_in_the_same_step():
    """Peer defect 8: momentum revives what was masked."""
    states = [event.capture() for event in prune(prune_job(**GMP)) if isinstance(event, Snapshot)]
    model = states[1]["model"]  # after the second step the first weights fall
    parameters = [name for name in model if "running" not in name and "num_batches" not in name]
    momenta = [entry["momentum_buffer"] for entry in states[1]["optimizer"]["state"].values()]
    fallen = 0
    for name, momentum in zip(parameters, momenta, strict=True):
        if momentum.ndim == 4:
            fallen += int((model[name] == 0).sum())
            assert not momentum[model[name] == 0].any(), name
    assert fallen > 10_000


def test_a_state_from_another_mask_is_refused():
    state = next(event for event in prune(prune_job(**GMP)) if isinstance(event, Snapshot)).capture()
    state["mask"] = {}
    with pytest.raises(CorruptError, match="another mask"):
        list(prune(prune_job(resume=state, **GMP)))


def rates(**settings):
    """The learning rate of every step, as the optimiser had it."""
    found = []
    for event in prune(
        prune_job(**{**SETTINGS, "lambda": 0, "rounds": 2, "finetune": "3it", "milestones": ["1it"], **settings})
    ):
        if isinstance(event, Snapshot):
            found.append(round(event.capture()["optimizer"]["param_groups"][0]["lr"], 6))
    return found


def test_learning_rate_rewinding_repeats_the_schedule_where_plain_finetuning_stays_at_the_last_rate():
    assert rates(rewind="learning-rate") == [0.02, 0.002, 0.002] * 3
    assert rates(rewind="pretrained") == [0.02, 0.002, 0.002] * 3
    assert rates(rewind="none") == [0.02, 0.002, 0.002] + [0.002] * 6


def test_learning_rate_rewinding_keeps_the_finetuned_weights():
    produced, _ = run_prune(rewind="learning-rate", rounds=1, **{"lambda": 0})
    values = produced["round-01"].outputs[0].values
    assert not isinstance(values, str)


def test_progress_of_gmp_counts_one_training():
    totals = {event.total for event in prune(prune_job(**GMP)) if isinstance(event, Progress)}
    assert totals == {8}


def test_gmp_reports_what_it_is_worth():
    produced = [event for event in prune(prune_job(**GMP)) if isinstance(event, Produced)]
    assert produced[0].metrics["healed_before"]["n"] > 0


def test_all_weight_matrices_can_be_pruned_stem_and_head_too():
    produced, _ = run_prune(prunable="weights", rounds=1, **{"lambda": 0})
    narrow, _ = run_prune(rounds=1, **{"lambda": 0})
    names = set(produced["round-01"].outputs[0].mask)
    assert names - set(narrow["round-01"].outputs[0].mask) == {"conv1.weight", "fc.weight"}


def test_a_heal_that_is_the_first_training_follows_the_schedule_from_its_start():
    """Prune, then finetune: the ordinary one-shot baseline."""
    settings = {"schedule": "one-shot", "to_sparsity": 0.5, "finetune": "0ep", "heal": "3it"}
    assert rates(rewind="none", **settings) == [0.02, 0.002, 0.002]


def test_without_a_first_finetune_the_second_round_is_the_first_training():
    assert rates(rewind="none", first_finetune=False) == [0.02, 0.002, 0.002] + [0.002] * 3


def test_a_milestone_that_the_first_round_never_reached_lowers_no_later_rate():
    assert rates(rewind="none", milestones=["3it"]) == [0.02] * 9


def test_gmp_passes_over_prunes_that_the_flat_end_of_the_cubic_leaves_nothing_to_drop():
    produced, _ = run_prune(
        **{**GMP, "rounds": 150, "finetune": "1it", "heal": "0ep", "augment": "none", "to_sparsity": 0.8}
    )
    mask = produced["gmp"].outputs[0].mask
    assert mask.kept == mask.total - round(0.8 * mask.total)
