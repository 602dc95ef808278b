"""What a step takes from others, told from the recipe alone."""

import pytest

from ticketcli.cli.recipe_file import RecipeSource
from ticketcli.errors import InputMissing, TicketError, UsageError, UsageErrors
from ticketcli.stage import IMPORT, PRETRAIN, STAGES

STEPS = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits, keep: [2ep]}
  unpacked: {stage: import, source: some.ticket.safetensors}
  dec: {stage: train-decoder, encoder: dense}
  ours: {stage: prune, encoder: dense, decoder: dec, rounds: 3}
  t: {stage: transfer, ticket: ours/2, data: digits}
"""


def load(*lines):
    text = STEPS + "".join(f"  {line}\n" for line in lines)
    return RecipeSource(text, "r").load_to_run()


def test_every_output_is_of_the_kind_that_the_table_says(finished):
    for name in finished.steps():
        manifest = finished.manifest(name)
        spec = STAGES[manifest.stage]
        made = {output: artifact.kind for output, artifact in manifest.artifacts().items()}
        assert made == spec.outputs(spec.config.parse(manifest.config, where=name)), name


def test_what_an_import_makes_is_known_but_of_a_packed_ticket():
    assert PRETRAIN.outputs(PRETRAIN.config.parse({"data": "digits", "keep": ["0ep"]}, where="r")) == {
        "dense": "dense", "init": "kept",
    }  # fmt: skip
    assert IMPORT.outputs(IMPORT.config.parse({"source": "some.ticket.safetensors"}, where="r")) == {"ticket": ""}
    assert IMPORT.outputs(IMPORT.config.parse({"source": "torchvision:resnet50"}, where="r")) == {"dense": "dense"}


@pytest.mark.parametrize(
    "line",
    [
        "a: {stage: prune, encoder: dense, lambda: 0}",
        "a: {stage: prune, encoder: dense, decoder: dec, rewind: dense/2ep}",
        "a: {stage: prune, encoder: t, lambda: 0}",
        "a: {stage: prune, encoder: unpacked, lambda: 0}",
        "a: {stage: prune, encoder: dense, lambda: 0, criterion: random, like: ours, rounds: 3}",
        "a: {stage: prune, encoder: somewhere/else.safetensors, decoder: ./d.safetensors}",
        "a: {stage: evaluate, of: t, latency: true}",
        "a: {stage: evaluate, of: x.safetensors, latency: true}",
        "a: {stage: prune, encoder: x.safetensors, lambda: 0, rewind: init}",
        "a: {stage: rewind, ticket: ours}",
        "a: {stage: transfer, ticket: ours/healed, data: 'folder:not/here'}",
    ],
)
def test_what_can_run_is_let_through(line):
    assert load(line)["a"].name == "a"


@pytest.mark.parametrize(
    ("line", "error", "what", "where", "hint"),
    [
        ("{stage: prune, encoder: dense}", UsageError, "'decoder' is missing", "decoder", "name a decoder"),
        ("{stage: prune, lambda: 0}", UsageError, "'encoder' is missing", "encoder", "name a dense"),
        ("{stage: prune, encoder: dec, lambda: 0}", UsageError, "encoder needs a dense, 'dec' is a decoder", "encoder",
         "name a dense checkpoint"),
        ("{stage: prune, encoder: dense/2ep, lambda: 0}", UsageError, "encoder needs a dense, 'dense/2ep' is a kept",
         "encoder", "name a dense checkpoint"),
        ("{stage: train-decoder, encoder: ours}", UsageError, "encoder needs a dense, 'ours' is a ticket", "encoder",
         "name the dense network that the ticket was made of"),
        ("{stage: transfer, ticket: ours/12, data: digits}", InputMissing, "'ours' makes no '12'", "ticket",
         "it makes 1, 2, 3, healed"),
        ("{stage: prune, encoder: dense, lambda: 0, criterion: random, like: ours, rounds: 5}", InputMissing,
         "'ours' makes no '4'", "like", "it makes 1, 2, 3, healed"),
        ("{stage: prune, encoder: dense, lambda: 0, rewind: init}", InputMissing,
         "rewind: init needs the initial values", "rewind", "pretrain with keep: [0ep]"),
        ("{stage: prune, encoder: dense, lambda: 0, rewind: ours}", UsageError,
         "rewind needs a dense or kept, 'ours' is a ticket", "rewind", "name the dense network"),
        ("{stage: evaluate, of: unpacked/ticket, decoder: dense}", UsageError, "decoder needs a decoder", "decoder",
         "name a decoder checkpoint"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_with_the_code_that_it_would_end_with(line, error, what, where, hint):
    with pytest.raises(error) as caught:
        load(f"a: {line}")
    assert caught.value.what.startswith(what)
    assert caught.value.where == f"steps.a.{where}"
    assert caught.value.hint.startswith(hint)


def test_a_comparison_with_the_dense_network_needs_one_at_the_beginning():
    """Back from the transfer there is a decoder, which is told of at the transfer, too."""
    with pytest.raises(UsageErrors) as caught:
        load("a: {stage: transfer, ticket: dec, data: digits}", "e: {stage: evaluate, of: a, latency: true}")
    assert [(error.what, error.where) for error in caught.value.errors] == [
        ("ticket needs a ticket or dense, 'dec' is a decoder", "steps.a.ticket"),
        ("nothing says which dense network 'a' was made from", "steps.e.dense"),
    ]


def test_repetitions_with_the_same_mistake_are_told_once():
    with pytest.raises(TicketError) as caught:
        load("a: {stage: prune, encoder: dense, for_each: {s: [1, 2, 3]}, seed: $s}")
    assert caught.value.what == "'decoder' is missing"
