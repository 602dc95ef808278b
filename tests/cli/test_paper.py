"""The recipes of the paper's experiments: they can be planned without data, are what the paper says, and tell their bill."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.command_line import ticket
from ticketcli.cli.recipe_file import load_recipe
from ticketcli.stage import STAGES

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
N_STEPS = {"imagenet": 7, "coco": 19, "classification": 63, "ablations": 40, "controls": 199}
RECIPES = {path.stem: load_recipe(path.read_text(), path.stem) for path in sorted(FOLDER.glob("*.yaml"))}
# GPU-hours (A100, H100), calculated for eight GPUs with bf16, channels_last and compile: an epoch of ImageNet for the
# decoder (15 and 11 for 50), of pruning with reconstruction (32 and 24 for 110) and without (1.72 times less: encoder
# 4.09 G multiply-adds three times, decoder 4.40 twice), with a frozen teacher (a third more than without); Mask R-CNN 1x
# on COCO (130 and 85 for five); a million images of 32 pixels (30 and 26 for 182 epochs of 15 tickets on three sets).
PLAIN = (32 / 110 / 1.72, 24 / 110 / 1.72)
PRICES = {
    "decoder": (15 / 50, 11 / 50),
    "rebuilt": (32 / 110, 24 / 110),
    "plain": PLAIN,
    "teacher": (PLAIN[0] * 4 / 3, PLAIN[1] * 4 / 3),
    "coco": (26, 17),
    "small": (30 / 425.7, 26 / 425.7),
}
# Megabytes: 25,557,032 weights of the network, 23,520,842 of it for 32 pixels, 44.5 M of Mask R-CNN, those of the
# decoder by its width; a mask of 23,445,504 bits.
NETWORK, SMALL, DETECTOR, MASK = 102.2, 94.1, 178.0, 2.93
DECODERS = {1.0: 98.4, 0.5: 43.5, 0.25: 24.6, 0.125: 17.3}
TRAIN = {"cifar10": 0.045, "cifar100": 0.045, "svhn": 0.065931}  # million images, less a tenth


def small_set(step):
    """The set of 32 pixels that a step trains on, or None."""
    data = getattr(step.config, "data", None)
    return step.variables.get("set") or (data.name if data is not None and data.name in TRAIN else None)


def pruning(step):
    """Epochs by kind of work, and megabytes."""
    config, names = step.config, small_set(step)
    epochs = config.rounds * config.finetune.amount + config.healing.amount
    network = NETWORK if names is None else SMALL
    written = config.rounds * config.goes_on * (config.schedule == "lth") + (config.healing.amount > 0)
    disk = written * network + MASK * (1 if config.schedule == "gmp" else config.rounds)
    if names is not None:
        return Counter(small=epochs * TRAIN[names]), disk
    kind = "rebuilt" if config.rebuilds else "teacher" if config.loss == "feat" else "plain"
    return Counter({kind: epochs}), disk


def work(step):
    """What a step trains, in the units of the prices, and the megabytes that stay."""
    config = step.config
    if step.stage == "prune":
        return pruning(step)
    if step.stage == "transfer" and config.task == "segmentation":
        return Counter(coco=1), DETECTOR + MASK
    if step.stage == "transfer":
        return Counter(small=config.epochs.amount * TRAIN[small_set(step)]), SMALL + MASK
    if step.stage == "train-decoder":
        return Counter(decoder=config.epochs.amount), DECODERS[config.width]
    return Counter(), {"import": NETWORK, "pretrain": SMALL, "evaluate": 0.0}[step.stage]


def bill(recipe):
    """GPU-hours on A100 and H100, and gigabytes."""
    found = [work(step) for step in recipe.steps]
    total = sum((trained for trained, _ in found), Counter())
    hours = [sum(PRICES[kind][gpu] * amount for kind, amount in total.items()) for gpu in (0, 1)]
    return [*hours, sum(disk for _, disk in found) / 1000]


def header(name):
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))


def test_every_recipe_of_the_paper_is_here_and_in_the_list():
    listed = [one["name"] for one in json.loads(ticket("recipes", "ls", "--json").out)["recipes"]]
    assert {name.removeprefix("paper/") for name in listed if name.startswith("paper/")} == set(N_STEPS) == set(RECIPES)


@pytest.mark.parametrize("name", N_STEPS)
def test_it_is_planned_without_any_data(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f", {N_STEPS[name]} steps, good" in ticket("validate", f"paper/{name}").out.replace(":", ",")
    result = ticket("run", f"paper/{name}", "--dry-run", "--json")
    assert result.code == 0, result
    steps = json.loads(result.out)["steps"]
    assert len(steps) == N_STEPS[name]
    assert steps[0] == {"step": "dense", "stage": "import", "state": "missing", "why": "not made yet"}
    assert {step["state"] for step in steps} <= {"missing", "waiting"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", RECIPES)
def test_its_header_says_what_it_reproduces_what_it_expects_and_that_the_bill_is_calculated(name):
    text = header(name)
    assert re.search(r"\b(Set up to reproduce|Extends) .*(figure|table)", text)
    assert re.search(r"^It expects ", text, re.MULTILINE)
    assert re.search(r"^Published, theirs", text, re.MULTILINE)
    assert "Bill, calculated and not measured, for " in text


@pytest.mark.parametrize("name", RECIPES)
def test_its_bill_is_what_its_steps_come_to(name):
    told = re.search(r"([\d,]+) A100 or ([\d,]+) H100 GPU-hours, ([\d.]+) GB of disk", header(name))
    assert told is not None
    hours = [float(number.replace(",", "")) for number in told.groups()[:2]]
    a100, h100, disk = bill(RECIPES[name])
    assert hours == [pytest.approx(a100, abs=1), pytest.approx(h100, abs=1)]
    assert float(told[3]) == pytest.approx(disk, rel=0.03)


def test_steps_of_one_name_are_the_same_work_in_all_recipes_so_that_they_can_share_a_run_folder():
    known = {}
    for recipe in RECIPES.values():
        for step in recipe.steps:
            ignored = frozenset({"rounds", "heal"}) if step.stage == "prune" else frozenset()
            refs = {role: str(ref) for role, ref in step.refs.items()}
            same = (STAGES[step.stage].name, step.config.identity(without=ignored), refs)
            assert known.setdefault(step.name, same) == same, step.name
    assert len(known) <= sum(len(recipe.steps) for recipe in RECIPES.values()) - 20


def settings(recipe, name):
    return RECIPES[recipe][f"{name}@seed=0"].config.resolved()


def test_stages_one_and_two_are_the_papers():
    decoder = settings("imagenet", "decoder")
    assert (decoder["optimizer"], decoder["lr"], decoder["milestones"]) == ("adamw", 1e-4, ["10ep", "30ep"])
    assert (decoder["epochs"], decoder["batch"], decoder["weight_decay"], decoder["t"]) == ("50ep", 512, 2e-4, 0.1)
    for recipe, rounds in {"imagenet": 15, "coco": 11, "classification": 15, "ablations": 8, "controls": 11}.items():
        ours = settings(recipe, "ours")
        assert (ours["rounds"], ours["lambda"], ours["rewind"], ours["fraction"]) == (rounds, 10, "pretrained", 0.2)
        assert (ours["finetune"], ours["lr"], ours["milestones"]) == ("10ep", 3e-4, [])
        assert (ours["batch"], ours["momentum"]) == (512, 0.9)


def test_targets_have_the_papers_schedules():
    for step in RECIPES["coco"].instances["coco"]:
        assert (str(step.config.epochs), step.config.batch, step.config.lr) == ("90000it", 16, 0.02)
    itself = RECIPES["classification"].instances["itself"]
    small = list(RECIPES["classification"].instances["small"])
    assert (len(small), len(itself)) == (48, 6)
    for step in small:
        assert (str(step.config.epochs), step.config.batch, step.config.image_size) == ("182ep", 256, 32)
    for config in (step.config for step in (*itself, *small)):
        assert (config.lr, config.weight_decay, [str(one) for one in config.milestones]) == (
            0.1,
            2e-4,
            ["91ep", "136ep"],
        )
    assert {step.refs["encoder"].step.partition("@")[0] for step in itself} == {"random", "pretrained"}


def test_the_paper_compares_at_the_sparsities_that_it_prints():
    config = RECIPES["coco"]["ours@seed=0"].config
    living = total = 23_445_504
    shares = []
    for number in range(1, 12):
        living = config.kept_after(number, living=living, total=total)
        shares.append(round(100 * (1 - living / total), 2))
    assert shares[6:] == [79.03, 83.22, 86.58, 89.26, 91.41]
    for name, round_ in (("gmp-7", 7), ("gmp-11", 11)):
        for step in RECIPES["controls"].instances[name]:
            kept = step.config.kept_after(step.config.rounds, living=0, total=total)
            ours = total
            for number in range(1, round_ + 1):
                ours = config.kept_after(number, living=ours, total=total)
            assert abs(kept - ours) < 10


def test_controls_differ_from_ours_in_what_they_are_controls_of_and_in_nothing_else():
    ours = settings("controls", "ours")
    differ = {
        "plain": {"lambda"},
        "imp-rec": {"rewind"},
        "imp": {"lambda", "rewind"},
        "feat": {"loss", "decoder"},
        "placebo": {"target"},
        "longer": {"lambda", "finetune"},
        "order": {"lambda", "seed"},
        "untrained": {"lambda", "finetune", "decoder"},
        "random": {"lambda", "finetune", "decoder", "criterion", "like"},
        "lr-rewind": {"lambda", "rewind", "lr", "milestones"},
    }
    for arm, wanted in differ.items():
        config = RECIPES["controls"].instances[arm][0].config.resolved()
        assert {key for key in config if config[key] != ours[key]} == wanted, arm
    gradual = RECIPES["controls"].instances["gmp-11"]
    assert [step.config.lambda_ for step in gradual[::3]] == [0, 10]
    assert {step.config.rounds * step.config.finetune.amount + step.config.healing.amount for step in gradual} == {110}


def test_all_arms_are_transferred_alike():
    for recipe, groups in {"coco": ["coco"], "controls": ["coco", "cifar100"], "ablations": ["hints", "t"]}.items():
        for group in groups:
            alike = {
                step.config.model_copy(update={"ticket": "", "seed": 0}) for step in RECIPES[recipe].instances[group]
            }
            assert len(alike) == 1


def test_a_transferred_dense_network_may_be_pruned_on_its_target_and_a_ticket_may_not(finished):
    words = ["--loss", "cls", "--dry-run", "--name", "typed", "--run", finished.root]
    assert ticket("prune", "--encoder", "target@arm=dense,seed=0", *words).code == 0
    refused = ticket("prune", "--encoder", "ours@seed=0", *words)
    assert refused.code != 0
    assert "encoder needs a dense" in refused.err
