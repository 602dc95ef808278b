"""A recipe that cannot run is refused by every command that would run it, before anything is made."""

import json

import pytest

from tests.cli.command_line import ticket, write
from tests.cli.test_start import HEAVY, start
from ticketcli.cli.recipe_file import RecipeSource, load_recipe, shipped
from ticketcli.errors import UsageError, UsageErrors

RECIPE = """
schema: 1
defaults:
  pretrain: {batch: 8, epochs: 1it, milestones: []}
  prune: {batch: 8, finetune: 1it, recalibrate_bn: 0}
  transfer: {batch: 8, epochs: 1it, milestones: []}
steps:
  dense: {stage: pretrain, data: digits, arch: resnet_small}
  ours: {stage: prune, encoder: dense, lambda: 0, rounds: 3}
  t: {stage: transfer, ticket: ours/3, data: digits}
"""
BEFORE = [
    ("validate",),
    ("run", "--dry-run"),
    ("run",),
    ("run", "--estimate"),
    ("slurm", "render", "--to", "scripts"),
    ("slurm", "submit", "--dry-run", "--to", "scripts"),
]


@pytest.mark.parametrize("command", BEFORE, ids=" ".join)
@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        (", lambda: 0", "", 2, "'decoder' is missing"),
        ("ours/3", "ours/12", 5, "'ours' makes no '12'"),
        ("resnet_small", "resnet5O", 2, "unknown architecture 'resnet5O'"),
        ("ours/3, data: digits", "ours/3, data: cifr10", 2, "did you mean 'cifar10'?"),
    ],
)
def test_every_command_refuses_it_with_the_same_code_and_makes_nothing(
    tmp_path, monkeypatch, command, old, new, code, message
):
    monkeypatch.chdir(tmp_path)
    result = ticket(*command, write(tmp_path / "r.yaml", RECIPE.replace(old, new)))
    assert result.code == code, result
    assert message in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.yaml"]


def test_several_mistakes_end_with_the_code_of_the_first_and_all_are_told(tmp_path):
    text = RECIPE.replace("ours/3", "ours/12").replace("resnet_small", "resnet5O")
    result = ticket("validate", write(tmp_path / "r.yaml", text), "--json")
    (row,) = json.loads(result.out)["recipes"]
    assert result.code == 2
    assert len(row["errors"]) == 2
    assert ticket("validate", tmp_path / "r.yaml", "dense.arch=resnet18").code == 5


def mistakes(*lines):
    text = RECIPE + "".join(f"  {line}\n" for line in lines)
    try:
        RecipeSource(text, "r").load_to_run()
    except UsageErrors as several:
        return [(error.where, error.what) for error in several.errors]
    except UsageError as error:
        return [(error.where, error.what)]
    return []


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        ("stage: pretrain, data: mnst", "data.name", "unknown image set 'mnst'"),
        ("stage: pretrain, data: folder", "data.name", "unknown image set 'folder'"),
        ("stage: transfer, ticket: ours, data: 'scenes:digts'", "data.name", "unknown image set 'digts'"),
        ("stage: evaluate, of: dense, localize: 'senes:digits'", "localize.name", "unknown image set 'senes:digits'"),
        ("stage: pretrain, data: digits, arch: 'gunn:cifar-16'", "arch", "'gunn:cifar-16' has no GUNN layer"),
        ("stage: pretrain, data: digits, arch: 'gunn:cifar-16-7/2'", "arch", "7 channels do not divide into 2"),
        ("stage: import", "source", "nothing to import"),
        ("stage: import, source: w.pth", "arch", "a file does not say its architecture"),
        ("stage: import, source: w.pth, arch: resnet5O", "arch", "unknown architecture 'resnet5O'"),
        ("stage: import, source: 'torchvision:resnet5O'", "source", "no torchvision network 'resnet5O' here"),
        ("stage: import, source: 'torchvision:resnet50', head: a", "head", "head chooses a network of a bundle"),
        ("stage: train-decoder, encoder: dense, hints: [layer9]", "hints", "no tap 'layer9'"),
        ("stage: train-decoder, encoder: dense, hints: [layer4, layer4]", "hints", "a hint is named twice"),
    ],
)
def test_names_that_are_none_are_refused(line, where, what):
    ((found, said),) = mistakes(f"a: {{{line}}}")
    assert found == f"steps.a.{where}"
    assert said.startswith(what)


@pytest.mark.parametrize(
    "lines",
    [
        ["a: {stage: pretrain, data: 'folder:not/here', arch: 'gunn:cifar-16-8/2'}"],
        ["a: {stage: pretrain, data: 'images:not/here', arch: 'timm:who_knows'}"],
        [
            "a: {stage: pretrain, data: coco}",
            "b: {stage: pretrain, data: 'coco:x'}",
            "c: {stage: pretrain, data: scenes}",
        ],
        ["a: {stage: transfer, ticket: ours, data: 'scenes:folder:x'}"],
        ["a: {stage: import, source: 'timm:who_knows@tag'}", "d: {stage: train-decoder, encoder: a, hints: [any]}"],
        ["a: {stage: import, source: 'torchvision:resnet50@IMAGENET1K_V2'}", "d: {stage: train-decoder, encoder: a}"],
        [
            "a: {stage: import, source: w.pth, arch: vgg16}",
            "d: {stage: train-decoder, encoder: a, hints: [features.4]}",
        ],
        ["a: {stage: import, source: some.ticket.safetensors, head: b}"],
        ["d: {stage: train-decoder, encoder: w.safetensors, hints: [any]}"],
    ],
)
def test_names_that_only_the_machine_can_look_up_are_let_through(lines):
    assert mistakes(*lines) == []


def test_hints_are_looked_for_where_the_encoder_comes_from():
    steps = [
        "cifar: {stage: pretrain, data: digits, arch: resnet20}",
        "thin: {stage: prune, encoder: cifar, lambda: 0, granularity: channel, criterion: l1}",
        "small: {stage: compact, ticket: thin}",
        "d: {stage: train-decoder, encoder: small}",
    ]
    assert mistakes(*steps) == [("steps.d.hints", "no tap 'layer4'")]
    assert mistakes(*steps[:3], "d: {stage: train-decoder, encoder: small, hints: [layer2, layer3]}") == []


def test_what_was_run_before_is_read_whatever_it_names():
    assert load_recipe(RECIPE.replace("resnet_small", "gone"), "r")["dense"].config.arch == "gone"


def test_every_shipped_recipe_can_run():
    for name, item in shipped().items():
        assert RecipeSource(item.read_text(), name).load_to_run().steps, name


def test_a_refusal_loads_no_torch(tmp_path):
    path = write(tmp_path / "r.yaml", RECIPE + "  i: {stage: import, source: w.pth, arch: resnet18}\n")
    assert start(HEAVY, "validate", path, "dense.arch=gunn15", "t.data=scenes:folder:x")
