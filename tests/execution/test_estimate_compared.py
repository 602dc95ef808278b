"""What a step takes without naming it is estimated too: the dense network beside which it is measured, and initial values."""

import json

from tests.cli.command_line import ticket
from ticketcli.cli.recipe_file import RecipeSource, read_recipe
from ticketcli.execution import estimate
from ticketcli.inputs import all_refs
from ticketcli.plan import plan_recipe
from ticketcli.store.run_folder import Run

COMPARED = """
schema: 1
defaults:
  pretrain: {batch: 16, epochs: 1it, milestones: []}
  prune: {batch: 16, lambda: 0, rounds: 1, finetune: 1it, heal: 0ep, recalibrate_bn: 0}
steps:
  dense: {stage: pretrain, data: {name: digits, classes: [0, 1], per_class: 20}, keep: [0ep]}
  ours: {stage: prune, encoder: dense, rewind: init}
  seen: {stage: evaluate, of: ours, features: true, probe_images: 20}
  timed: {stage: evaluate, of: ours, latency: true}
"""
FAR = """
  channels: {stage: prune, encoder: dense, granularity: channel, criterion: l1}
  small: {stage: compact, ticket: channels}
  target: {stage: transfer, ticket: small, data: {name: digits, classes: [5, 6]}, image_size: 32}
  far: {stage: evaluate, of: target, latency: true}
  named: {stage: evaluate, of: target, latency: true, dense: target}
"""


def steps_of(recipe, run):
    return {step.name: step for step in plan_recipe(RecipeSource(*read_recipe(str(recipe))).load(), run)}


def test_an_estimate_takes_the_inputs_that_the_real_steps_take(tmp_path, monkeypatch):
    seen = {}
    real = estimate.runner_of

    def runner_of(spec):
        def run(job):
            seen.setdefault(spec.name, []).append(set(job.inputs))
            return real(spec)(job)

        return run

    monkeypatch.setattr(estimate, "runner_of", runner_of)
    recipe, run = tmp_path / "compared.yaml", Run(tmp_path / "run")
    recipe.write_text(COMPARED)
    result = ticket("run", recipe, "--estimate", "--json", "--run", run.root)
    assert result.code == 0, result
    assert {row["step"] for row in json.loads(result.out)["steps"] if row["seconds"] > 0} == {*steps_of(recipe, run)}
    assert ticket("run", recipe, "--run", run.root, "--only", "dense", "--only", "ours", "-q").code == 0
    planned = steps_of(recipe, run)
    assert seen == {"pretrain": [set()], "prune": [set(planned["ours"].inputs)],
                    "evaluate": [set(planned["seen"].inputs), set(planned["timed"].inputs)]}  # fmt: skip
    assert seen["prune"] == [{"encoder", "rewind"}]
    assert seen["evaluate"] == [{"of", "dense"}, {"of", "dense"}]


def test_the_dense_network_is_found_back_through_all_that_came_of_it(tmp_path):
    recipe = tmp_path / "far.yaml"
    recipe.write_text(COMPARED + FAR)
    steps = steps_of(recipe, Run(tmp_path / "run"))
    taken = {name: all_refs(step.recipe, lambda made_by: steps[made_by].recipe) for name, step in steps.items()}
    assert str(taken["far"]["dense"]) == "dense"
    assert str(taken["named"]["dense"]) == "target"
    assert str(taken["ours"]["rewind"]) == "dense/init"
    assert set(taken["small"]) == {"ticket"}
