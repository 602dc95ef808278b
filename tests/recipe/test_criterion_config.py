"""What falls: settings that fit together, and counts."""

import pytest

from ticketcli.errors import UsageErrors
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stage import PRUNE


def config(**settings):
    return PruneConfig.parse(settings, where="prune")


TABLE = {"fc1": [0.93, 0.99], "fc2": 0.8}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsities": TABLE, "rounds": 3}, "the layer fc1 has 2 sparsities for 3 rounds"),
        ({"sparsities": {"fc1": [0.9, 0.8]}, "rounds": 2}, "go down"),
        ({"sparsities": {"fc1": 1.0}}, "cannot be 1.0 sparse"),
        ({"sparsities": {"fc1": -0.1}}, "cannot be -0.1 sparse"),
        ({"sparsities": {"fc1": "most"}}, "valid number"),
        ({"sparsities": {}}, "names no layer"),
        ({"sparsities": {"fc1": 0.5, "fc1.weight": 0.5}}, "given twice"),
        ({"sparsities": [0.5]}, "a table of layers"),
        ({"sparsities": {"fc1:0.5": None}}, "a space after each colon"),
        ({"sparsities": TABLE, "rounds": 2, "to_sparsity": 0.9}, "to_sparsity and sparsities each say how much falls"),
        ({"sparsities": TABLE, "rounds": 2, "fraction": 0.5}, "leave fraction out"),
        ({"sparsities": {"fc1": 0.5}, "criterion": "random", "like": "ours"}, "leave scope and sparsities out"),
        ({"scope": "layer", "criterion": "random", "like": "ours"}, "leave scope and sparsities out"),
        ({"schedule": "gmp", "sparsities": {"fc1": 0.5}}, "gmp needs to_sparsity"),
        ({"schedule": "gmp", "to_sparsity": 0.5, "criterion": "lobs"}, "between trainings"),
        ({"epsilon": 0.1, "criterion": "apoz"}, "epsilon is nothing to criterion apoz"),
        ({"epsilon": 0.0, "criterion": "lobs"}, "greater than 0"),
        ({"pattern": "2:4", "schedule": "one-shot"}, "pattern is nothing to criterion magnitude"),
        ({"pattern": "2:4", "criterion": "obc", "schedule": "one-shot"}, "pattern is nothing to criterion obc"),
        ({"pattern": "4:4", "criterion": "lobs", "schedule": "one-shot"}, "n below m"),
        ({"pattern": "half", "criterion": "lobs", "schedule": "one-shot"}, "n below m"),
        ({"pattern": "2:4", "criterion": "lobs"}, "reached at once"),
        ({"compensate": True, "criterion": "wanda"}, "compensate is nothing to criterion wanda"),
        ({"calibrate": 64}, "calibrate is nothing to criterion magnitude"),
        ({"calibrate": 0, "criterion": "lobs"}, "greater than or equal to 1"),
        ({"positions": 3, "criterion": "random"}, "positions is nothing to criterion random"),
        ({"damping": 0.1, "criterion": "obd"}, "damping is nothing to criterion obd"),
        ({"calib_memory": "much"}, "'much' is not a size"),
        ({"calib_memory": "0 GB"}, "'0 GB' is not a size"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(UsageErrors, match=words):
        config(**settings)


def test_one_number_is_reached_at_the_last_round_by_equal_shares_and_a_list_is_followed():
    settings = config(sparsities=TABLE, rounds=2)
    assert settings.kept_after(1, living=1000, total=1000, layer="fc1.weight") == 70
    assert settings.kept_after(2, living=70, total=1000, layer="fc1.weight") == 10
    assert settings.kept_after(1, living=1000, total=1000, layer="fc2") == 1000 - round(1000 * (1 - 0.2**0.5))
    assert settings.kept_after(2, living=447, total=1000, layer="fc2") == 200
    assert settings.kept_after(2, living=500, total=1000, layer="fc3") == 500


def test_a_layer_may_be_called_by_its_weight():
    assert (
        config(sparsities={"fc1.weight": 0.5}) == config(sparsities={"fc1": [0.5]}) == config(sparsities={"fc1": 0.5})
    )


def keys(**settings):
    settings = config(**settings)
    return {unit.name: settings.identity(without=unit.ignores) for unit in PRUNE.units(settings)}


def test_the_memory_of_a_calibration_makes_nothing_stale():
    assert keys(criterion="lobs", calib_memory="1MB") == keys(criterion="lobs")


def test_where_layers_share_an_aim_the_number_of_rounds_counts():
    three, two = (keys(sparsities={"fc1": 0.8}, rounds=n)["round-01"] for n in (3, 2))
    assert three != two
    assert keys(rounds=3)["round-01"] == keys(rounds=2)["round-01"]


def test_compensated_weights_are_an_output_of_their_own_where_the_ticket_is_rewound():
    def outputs(**settings):
        return [unit.outputs for unit in PRUNE.units(config(criterion="lobs", rounds=1, heal="0ep", **settings))]

    assert outputs(compensate=True) == [("1", "1-compensated")]
    assert outputs(compensate=True, rewind="none") == [("1",)]
    assert outputs() == [("1",)]
