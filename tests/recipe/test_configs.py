import pytest

from ticketcli.canon import digest
from ticketcli.errors import UsageErrors
from ticketcli.recipe.configs import Data
from ticketcli.recipe.evaluate_config import EvaluateConfig, Localize
from ticketcli.recipe.prune_config import PruneConfig
from ticketcli.recipe.tables import TableConfig
from ticketcli.recipe.transfer_config import TransferConfig
from ticketcli.stage import STAGES

# Digest of each stage's defaults, by version. A changed default changes results that were computed with it, while
# their digests leave defaults out: raise the stage's version in stage.py, then write the new digest here.
DEFAULTS = {
    ("pretrain", 1): "014f8ea28ef29bdb",
    ("import", 1): "1d7d870ce5c09173",
    ("train-decoder", 2): "b1a8b22d42efb2e6",
    ("prune", 3): "490281c8028c8050",
    ("rewind", 1): "2347ba4a4f5e3c4c",
    ("compact", 1): "af5739696a818b3f",
    ("transfer", 1): "951327154e62355c",
    ("evaluate", 1): "df9e67991dbb6eac",
}


def defaults_of(config):
    return {
        name: str(field.get_default(call_default_factory=True))
        for name, field in sorted(config.model_fields.items())
        if not field.is_required()
    }


@pytest.mark.parametrize("name", list(STAGES))
def test_a_changed_default_raises_the_stages_version(name):
    spec = STAGES[name]
    assert digest(defaults_of(spec.config))[:16] == DEFAULTS[name, spec.version]


@pytest.mark.parametrize("name", list(STAGES))
def test_every_field_has_help(name):
    for key, field in STAGES[name].config.model_fields.items():
        assert field.description, key


def test_defaults_are_the_papers():
    prune, transfer = PruneConfig(), TransferConfig.parse({"data": "digits"}, where="t")
    assert (prune.rounds, prune.fraction, prune.lambda_, prune.lr, prune.momentum, prune.batch) == (
        11,
        0.2,
        10,
        3e-4,
        0.9,
        512,
    )
    assert (str(prune.finetune), prune.rewind, str(transfer.epochs)) == ("10ep", "pretrained", "182ep")
    assert [str(point) for point in transfer.milestones] == ["91ep", "136ep"]


def test_writing_out_a_default_changes_no_digest():
    assert PruneConfig.parse({"rounds": 11, "lambda": 10}, where="p").identity() == PruneConfig().identity() == {}


def test_what_is_measured_where_objects_are_sought_is_what_it_was_unless_something_is_set():
    """Digests of evaluations that are made already: their settings are left out where they are the defaults."""
    usual = Localize.parse({"name": "scenes"}, where="l")
    nine = ("fr", "fsp", "fsp-unguarded", "fsp-fr", "gradient", "guided", "gradcam", "centre", "whole")
    assert usual.methods == nine
    assert EvaluateConfig.parse({"localize": "scenes"}, where="e").identity() == {"localize": {"name": "scenes"}}
    for settings in ({"fsp_ratio": 1.0}, {"middle": "layer1.0.relu#2"}, {"methods": ["fsp-fr-unguarded"]}):
        told = EvaluateConfig.parse({"localize": {"name": "scenes", **settings}}, where="e").identity()
        assert told == {"localize": {"name": "scenes", **settings}}


def test_a_setting_is_changed_where_it_is_not_its_default_however_that_is_made():
    table = TableConfig.parse({"table": "target", "labels": {}}, where="t")
    assert not table.is_changed("labels")
    assert TableConfig.parse({"table": "target", "labels": {"a": "b"}}, where="t").is_changed("labels")
    assert table.is_changed("table"), "it has no default"
    assert [PruneConfig(fraction=share).is_changed("fraction") for share in (0.2, 0.3)] == [False, True]


def test_references_count_by_what_they_point_to_and_words_by_what_they_say():
    assert (
        PruneConfig.parse({"encoder": "a"}, where="p").identity()
        == PruneConfig.parse({"encoder": "b"}, where="p").identity()
    )
    assert PruneConfig.parse({"rewind": "none"}, where="p").identity() == {"rewind": "none"}


def test_a_resolved_config_reads_back_equal():
    config = PruneConfig.parse({"lambda": 0, "finetune": "3it", "milestones": ["1ep"], "data": "digits"}, where="p")
    assert PruneConfig.parse(config.resolved(), where="p") == config


@pytest.mark.parametrize(
    ("written", "expected"),
    [("0-4", (0, 1, 2, 3, 4)), ([7, "1-3", 0], (7, 1, 2, 3, 0)), ([5, 6], (5, 6)), (3, (3,)), ("9-9", (9,))],
)
def test_classes_may_be_written_as_ranges(written, expected):
    assert Data.parse({"name": "digits", "classes": written}, where="d").classes == expected


@pytest.mark.parametrize("written", ["4-0", "a-b", [1.5], "0-", [True]])
def test_classes_that_are_no_ranges_are_refused(written):
    with pytest.raises(UsageErrors, match="classes"):
        Data.parse({"name": "digits", "classes": written}, where="d")


def test_how_a_training_computes_is_part_of_what_it_is_and_its_defaults_are_not():
    settings = {"precision": "auto", "layout": "channels_last", "compile": True, "fused": True, "micro_batch": 8}
    assert PruneConfig.parse(settings, where="p").identity() == settings
    usual = {"precision": "fp32", "layout": "nchw", "compile": False, "fused": False, "micro_batch": None}
    assert PruneConfig.parse(usual, where="p").identity() == {}


def test_a_part_of_a_batch_has_another_image_for_the_placebo():
    with pytest.raises(UsageErrors, match="micro_batch: 3 or more"):
        PruneConfig.parse({"target": "placebo", "micro_batch": 2}, where="p")


def test_images_of_other_sizes_are_not_compiled():
    with pytest.raises(UsageErrors, match="compile is for task: classification"):
        TransferConfig.parse({"data": "scenes", "task": "semantic", "compile": True}, where="t")


def test_settings_that_do_not_go_together_are_told_without_all_the_others():
    with pytest.raises(UsageErrors) as caught:
        PruneConfig.parse({"granularity": "channel", "criterion": "magnitude", "lr": 0.25}, where="prune")
    assert "judges single weights" in str(caught.value)
    assert "0.25" not in str(caught.value)
