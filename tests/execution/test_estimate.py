import json

import pytest
import torch

from tests.cli.command_line import ticket
from tests.stages.small_job import encoder_input
from ticketcli.execution.estimate import _Measurements, more_to_look_at
from ticketcli.recipe.evaluate_config import EvaluateConfig
from ticketcli.stage import EVALUATE
from ticketcli.stages.job import Job


@pytest.fixture(scope="module")
def estimated(tiny_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimate") / "run"
    result = ticket("run", tiny_recipe, "--estimate", "--json", "--run", folder)
    assert result.code == 0, result
    return json.loads(result.out), folder


def test_an_estimate_writes_nothing(estimated):
    assert not estimated[1].exists()


def test_looking_for_objects_takes_as_long_as_there_are_images_to_look_at():
    config = EvaluateConfig.parse({"of": "it", "localize": {"name": "scenes", "classes": [0, 1, 2]}}, where="evaluate")
    inputs = {"of": encoder_input()}
    whole, few = (
        Job(config, inputs, {}, EVALUATE.units(config), None, None, torch.device("cpu"), sample=sample)
        for sample in (None, 50)
    )
    assert more_to_look_at(whole, few) == pytest.approx(200 / 50, rel=0.1)  # some scenes have none of the classes
    assert more_to_look_at(whole, whole) == 1


@pytest.mark.parametrize(
    ("step", "n_steps"),
    [
        ("dense", 6),  # 60 images in batches of 16, two epochs
        ("dec", 3),
        ("ours", 3 * 2 + 2),
        ("random", 2),  # no finetuning, but healed
        ("uniform", 0),
        ("target@arm=dense,seed=0", None),
    ],
)
def test_the_training_steps_are_exactly_those_of_the_real_run(estimated, step, n_steps):
    rows = {row["step"]: row for row in estimated[0]["steps"]}
    found = rows[step if "@" in step else f"{step}@seed=0"]["n_steps"]
    assert found == n_steps if n_steps is not None else found > 0


def test_the_disk_is_that_of_the_real_run(estimated, finished):
    for row in estimated[0]["steps"]:
        files = (finished.root / row["step"]).rglob("*")
        real = sum(path.stat().st_size for path in files if path.suffix in (".safetensors", ".json"))
        assert row["disk"] == pytest.approx(real, rel=0.2, abs=100_000), row["step"]


def test_what_is_fresh_costs_nothing_and_is_not_measured(finished, tiny_recipe, monkeypatch):
    monkeypatch.setattr(_Measurements, "_run", lambda self, step: pytest.fail(f"{step.name} was run"))
    found = json.loads(ticket("run", tiny_recipe, "--estimate", "--json", "--run", finished.root).out)
    assert {row["seconds"] for row in found["steps"]} == {0}


def test_the_table_names_time_disk_and_memory(tiny_recipe, tmp_path):
    result = ticket("run", tiny_recipe, "--estimate", "--run", tmp_path / "run")
    for word in ("Time:", "Disk:", "are free", "Memory:", "training steps"):
        assert word in result.out
