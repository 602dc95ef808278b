"""Whole channels: settings that fit together, their own defaults, and shares of rounds."""

from fractions import Fraction

import pytest

from ticketcli.channels.knockoffs.generator import GanSettings
from ticketcli.errors import UsageErrors
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.stage import PRUNE


def config(**settings):
    return PruneConfig.parse(settings, where="prune")


CHANNEL = {"granularity": "channel", "criterion": "l1"}
SCOP = {"granularity": "channel", "criterion": "scop", "channel_fraction": 0.3}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"criterion": "l1"}, "judges whole channels"),
        ({"criterion": "scop"}, "judges whole channels"),
        ({"channel_fraction": 0.3}, "channel_fraction is for whole channels"),
        ({"round_to": 8}, "round_to is for whole channels"),
        ({"residual": True}, "residual is for whole channels"),
        ({**SCOP, "residual": True}, "criterion scop judges the channels of one convolution"),
        ({**CHANNEL, "criterion": "feedback", "residual": True}, "criterion feedback judges the channels of one"),
        ({"granularity": "channel"}, "criterion magnitude judges single weights"),
        ({"granularity": "channel", "criterion": "lobs"}, "criterion lobs judges single weights"),
        ({**CHANNEL, "to_sparsity": 0.8}, "to_sparsity counts weights"),
        ({**CHANNEL, "sparsities": {"fc": 0.8}}, "sparsities counts weights"),
        ({**CHANNEL, "criterion": "random", "like": "ours"}, "like counts weights"),
        ({**CHANNEL, "compensate": True}, "compensate is nothing to criterion l1"),
        ({**CHANNEL, "pattern": "2:4", "schedule": "one-shot", "channel_fraction": 0.3}, "each say how much falls"),
        ({**CHANNEL, "schedule": "gmp"}, "between trainings"),
        ({**CHANNEL, "schedule": "one-shot"}, "needs channel_fraction"),
        ({**CHANNEL, "schedule": "lth", "channel_fraction": 0.3}, "falls at once"),
        ({**CHANNEL, "channel_fraction": 0.3, "fraction": 0.1}, "leave fraction out"),
        ({**CHANNEL, "channel_fraction": 1.0}, "less than 1"),
        ({**CHANNEL, "channel_fraction": 0.0}, "greater than 0"),
        ({**CHANNEL, "round_to": 0}, "greater than or equal to 1"),
        ({**CHANNEL, "knockoff": "gan"}, "knockoff is nothing to criterion l1"),
        ({**CHANNEL, "selection": "3ep"}, "selection is nothing to criterion l1"),
        ({**CHANNEL, "calibrate": 3}, "calibrate is nothing to criterion l1"),
        ({**SCOP, "knockoff_at": "bn1"}, "knockoff permute makes controls of images"),
        ({**SCOP, "knockoff": "gaussian", "knockoff_steps": 3}, "knockoff gaussian is not trained"),
        ({**SCOP, "knockoff": "gan-released", "knockoff_at": "bn1"}, "knockoff gan-released makes controls of images"),
        ({**SCOP, "knockoff": "noise"}, "'permute', 'gaussian', 'gan', 'gan-released' or 'deep'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(UsageErrors) as caught:
        config(**settings)
    assert words in "; ".join(f"{one.what}; {one.hint}" for one in caught.value.errors)


def test_channels_fall_in_each_layer_and_at_once_where_a_share_is_given_unless_something_else_is_said():
    assert (config(**CHANNEL).scope, config(**CHANNEL).schedule) == ("layer", "lth")
    assert (config(**SCOP).scope, config(**SCOP).schedule, config(**SCOP).n_rounds) == ("layer", "one-shot", 1)
    assert config(**CHANNEL, scope="global").scope == "global"
    assert config().scope == "global"


@pytest.mark.parametrize("settings", [CHANNEL, SCOP, {**CHANNEL, "scope": "global"}, {"scope": "global"}])
def test_what_a_manifest_records_is_read_as_the_same(settings):
    found = config(**settings)
    assert config(**found.resolved()) == found
    assert config(**found.resolved()).identity() == found.identity()


def test_weights_are_what_they_were():
    assert config(granularity="weight").identity() == {}


def test_controls_that_a_network_makes_have_a_length_of_training():
    kinds = {name: config(**SCOP, knockoff=name) for name in ("permute", "gaussian", "gan", "gan-released", "deep")}
    assert [name for name, found in kinds.items() if found.trains_knockoffs] == ["gan", "gan-released", "deep"]
    assert not config(**CHANNEL).trains_knockoffs
    told = config(**SCOP, knockoff="gan-released", knockoff_steps=100_000).identity()
    assert (told["knockoff"], told["knockoff_steps"]) == ("gan-released", 100_000)
    assert "by default 4000 times" in PruneConfig.model_fields["knockoff_steps"].description
    assert GanSettings().judge_steps * 4000 == config().knockoff_steps


def test_shares_are_of_all_channels_and_exact():
    assert config(**SCOP).channels_gone(1) == Fraction(3, 10)
    assert [config(**CHANNEL).channels_gone(number) for number in (1, 2)] == [Fraction(1, 5), Fraction(9, 25)]


def test_more_rounds_leave_the_first_ones_fresh():
    def keys(**settings):
        found = config(**settings)
        return {unit.name: found.identity(without=unit.ignores) for unit in PRUNE.units(found)}

    assert keys(**CHANNEL, rounds=2)["round-02"] == keys(**CHANNEL, rounds=5)["round-02"]
