"""What a reader sees: a table letter by letter, and the sentences that keep it honest."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.report.sweep import report, rounds, transferred, unit
from ticketcli.report.measures import Measure, named

TWO = """
# Two arms.
schema: 1
for_each: {seed: [0, 1, 2]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  t: {stage: transfer, ticket: dense, data: digits, seed: $seed, for_each: {arm: {a: 0.1, b: 0.2}}, lr: $arm}
report: {table: t, against: a, compare: [b, a], labels: {a: "the first, as it is", b: second}}
"""
UNITS = {
    f"t@arm={arm},seed={seed}": transferred(top1)
    for arm, values in {"a": (0.5, 0.6, 0.9), "b": (0.61, 0.72, 0.98)}.items()
    for seed, top1 in enumerate(values)
}
WANTED = """\
arm                  sparse     net  n   top-1     sd      95 % interval                difference  pairs      p
the first, as it is  50.00%  40.00%  3  66.67%  20.82  14.96% to 100.00%
second               50.00%  40.00%  3  77.00%  19.00  29.80% to 100.00%  +10.33 (+5.16 to +15.50)      3  0.013

Paired difference in t top-1:
  second, less the first, as it is:
  +10.33 points, 95 % interval +5.16 to +15.50, n = 3: higher in this run, and no more than that.

Each top-1 is of 100 images, so one image is 1.00 points.
Sparse, net: masked share of the prunable weights, and of the whole network.
Sd: sample standard deviation over seed. Intervals: Student's t, each row on its own.
Difference: less the first, as it is, in pairs of equal seed; mean and 95 % t interval, each on its own.
P: two-sided paired t test, adjusted for all rows of this table by Holm's method; the intervals are not.

Command:   ticket run r.yaml
Recipe:    DIGEST, seeds 0, 1, 2
Versions:  ticketcli 0.1.0, torch 2.15.0
Machine:   x86_64 CPU (AVX2), 2 threads
Made:      2026-01-02, 12s of computing
"""


def text_of(units, text=TWO, columns=140, **kwargs):
    return report(text, units, **kwargs).as_text(Path("run"), columns)


def test_a_table_reads_like_this():
    made = report(TWO, UNITS)
    text = made.as_text(Path("run"), 140).replace(made.provenance.recipe[:12], "DIGEST")
    assert text.split("\nFiles:")[0] == WANTED


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("", None),
        ("task: semantic, data: scenes", None),
        (
            "task: segmentation, data: scenes",
            "Frozen of the backbone: stem, first stage and all BatchNorm, with statistics of 1,024 source images under the mask.",
        ),
        (
            "task: semantic, data: scenes, freeze: stem, batchnorm: train, recalibrate_bn: 0",
            "Frozen of the backbone: the stem, with statistics as they were.",
        ),
        (
            "freeze_backbone: true",
            "Frozen of the backbone: all of it, with statistics of 1,024 source images under the mask.",
        ),
    ],
)
def test_what_transfers_left_as_it_was_is_told(settings, words):
    recipe = TWO.replace("lr: $arm", f"lr: $arm, {settings}" if settings else "lr: $arm")
    recipe = recipe.replace("ticket: dense, data: digits,", "ticket: dense,") if "data:" in settings else recipe
    told = [line for line in text_of(UNITS, recipe, columns=300).splitlines() if line.startswith("Frozen")]
    assert told == ([words] if words else [])


def test_where_transfers_differ_in_what_they_left_both_are_told():
    recipe = TWO.replace("{a: 0.1, b: 0.2}}, lr: $arm", "{a: none, b: first}}, freeze: $arm, image_size: 32")
    told = [line for line in text_of(UNITS, recipe, columns=300).splitlines() if line.startswith("Frozen")]
    first = "stem and first stage, with statistics of 1,024 source images under the mask"
    assert told == [f"Frozen of the backbone, not the same everywhere: nothing; {first}."]


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_it_fits_the_terminal(columns):
    table = text_of(UNITS, columns=columns).split("Paired difference")[0]
    assert all(len(line) <= columns for line in table.splitlines())
    assert "+10.33 (+5.16 to +15.50)" in table


def test_one_replicate_has_no_interval_and_the_table_says_so():
    text = text_of({name: done for name, done in UNITS.items() if "seed=1" in name})
    assert "One replicate has no spread and no interval." in text
    assert "  +12.00 points, n = 1: one replicate has no interval, so nothing can be said." in text
    assert "95 % interval" not in text


def test_what_is_not_there_yet_is_listed():
    text = text_of({"t@arm=a,seed=0": UNITS["t@arm=a,seed=0"]}, lacking={"t@arm=b,seed=2": "partial, 2 of 3 done"})
    assert "Not there yet: t@arm=b,seed=2 (partial, 2 of 3 done)." in text
    assert "no pair yet" in text


def test_nothing_at_all_is_a_table_too():
    assert "no pair yet" in text_of({})


def test_unequal_pairs_are_counted():
    text = text_of({name: done for name, done in UNITS.items() if name != "t@arm=a,seed=0"})
    assert [line.split()[-2] for line in text.splitlines() if line.startswith("second ")] == ["2"]


CURVE = """
schema: 1
for_each: {seed: [0, 1]}
steps:
  dense: {stage: pretrain, data: digits, seed: $seed}
  ours: {stage: prune, encoder: dense, rounds: 3, lambda: 0, seed: $seed}
report: {tables: {curve: {table: ours}, "80 %": {table: ours, at: [0.3, 0.36, 0.9]}}}
"""
PRUNED = {f"ours@seed={seed}": rounds(0.9, 0.8, 0.7 - seed / 10, 0.6) for seed in (0, 1)}


def test_interpolated_rows_are_marked_and_rows_out_of_range_are_explained():
    text = text_of(PRUNED, CURVE).split("80 %\n", 1)[1]
    assert "~30.00%" in text
    assert "\n36.00%" in text
    assert "~: interpolated" in text
    assert "A row without values: there are no rounds on both sides of that sparsity." in text


def test_markdown_is_a_page_with_title_command_tables_and_reading():
    page = report(CURVE, PRUNED).as_markdown("demo", "What it is for.")
    assert page.startswith("# demo\n\nWhat it is for.\n\n- command: `ticket run r.yaml`\n- recipe: ")
    assert "\n## curve\n\n| round | sparse |" in page
    assert "seeds 0, 1" in page
    assert "- Round 0: the dense network" in page


@pytest.mark.parametrize(
    ("seeds", "other", "wanted"),
    [
        ([4, 5], 7, "seeds 4, 5 (other: 7)"),  # as `order` of the study, which has the same order beside every seed
        ([4, 5], 4, "seeds 4, 5"),
        ([4], 7, "seeds 4, 7"),
    ],
)
def test_seeds_that_are_repeated_are_told_from_one_that_repetitions_share(seeds, other, wanted):
    text = CURVE.replace("[0, 1]", str(seeds)).replace(
        "report:", f"  other: {{stage: prune, encoder: dense, rounds: 2, lambda: 0, seed: {other}}}\nreport:"
    )
    assert f"{wanted}\n" in text_of({}, text)


def test_csv_reads_back_with_a_line_a_replicate_and_every_number():
    made = report(TWO, UNITS)
    lines = list(csv.DictReader(io.StringIO(made.as_csv())))
    assert [(line["arm"], line["seed"]) for line in lines] == [(arm, seed) for arm in "ab" for seed in "012"]
    assert [float(line["test.top1"]) for line in lines] == [0.5, 0.6, 0.9, 0.61, 0.72, 0.98]
    assert {line["test.n"] for line in lines} == {"100"}
    assert {line["table"] for line in lines} == {"t"}


def test_csv_of_rounds_has_a_line_a_round_and_of_several_tables_one_head():
    lines = list(csv.DictReader(io.StringIO(report(CURVE, PRUNED).as_csv())))
    assert [line["round"] for line in lines if line["table"] == "curve" and line["seed"] == "0"] == ["0", "1", "2", "3"]
    assert {line["interpolated"] for line in lines if line["sparsity_asked"] == "0.3"} == {"1"}


def test_a_variable_called_as_a_measured_number_is_keeps_its_name_in_csv():
    text = (
        TWO.replace("seed: [0, 1, 2]", "sparsity: [0, 1, 2]")
        .replace("$seed", "$sparsity")
        .replace("against: a,", "over: sparsity,")
    )
    units = {name.replace("seed", "sparsity"): done for name, done in UNITS.items()}
    line = next(csv.DictReader(io.StringIO(report(text, units).as_csv())))
    assert (line["sparsity"], line["measured.sparsity"]) == ("0", "0.5")


def test_csv_without_a_result_is_a_head():
    assert report(TWO, {}).as_csv() == "table"


def test_json_has_no_numbers_that_json_has_not():
    made = json.dumps(report(TWO, {"t@arm=a,seed=0": UNITS["t@arm=a,seed=0"]}).as_json(), allow_nan=False)
    assert json.loads(made)["tables"][0]["rows"][0]["metrics"]["test.top1"]["sd"] is None


def test_a_label_that_is_a_path_is_told_by_its_last_part():
    text = TWO.replace("{a: 0.1, b: 0.2}}, lr: $arm", "[/data/x.safetensors]}").replace("ticket: dense", "ticket: $arm")
    text = text.split("report:")[0] + "report: {table: t}"
    assert "/data" not in report(text, {}).as_markdown("t", "").split("## ")[0].replace("Not there yet", "")


@pytest.mark.parametrize(
    ("name", "value", "text", "spread", "difference"),
    [
        ("test.top1", 0.5, "50.00%", "50.00", "+50.00"),
        ("healed.psnr", 21.234, "21.23 dB", "21.23", "+21.23"),
        ("bytes", 40_500, "40.5 kB", "4e+04", "+40,500"),
        ("kept", 1234.0, "1,234", "1.2e+03", "+1,234"),
        ("gradient_ratio", 11.7689, "11.77", "12", "+11.8"),
    ],
)
def test_numbers_have_the_digits_that_say_something(name, value, text, spread, difference):
    measure = Measure(name, name)
    assert (measure.text(value), measure.spread(value), measure.difference(value)) == (text, spread, difference)


def test_measures_are_called_by_the_shortest_words_that_tell_them_apart():
    assert [m.head for m in named(["test.top1", "healed.psnr"])] == ["top-1", "PSNR"]
    assert [m.head for m in named(["test.top1", "validation.top1"])] == ["test top-1", "validation top-1"]


TICKETS = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits}
  ours: {stage: prune, encoder: dense, rounds: 2, lambda: 0}
  t: {stage: transfer, data: digits, ticket: $arm, for_each: {arm: [dense, ours/1, ours/2]}}
report: {table: t, rows: arm, at: [0.3, 0.9], labels: {ours: the paper}}
"""


def test_interpolated_tickets_are_marked_beside_the_dense_network_at_its_own_sparsity():
    places = {"dense": 0.0, "ours-1": 0.2, "ours-2": 0.4}
    units = {
        f"t@arm={arm}": {"task": unit({"test": {"top1": 0.9 - at}, "sparsity": at, "network_sparsity": 0.0})}
        for arm, at in places.items()
    }
    text = text_of(units, TICKETS)
    assert [line.split() for line in text.splitlines()[1:4]] == [
        ["dense", "0.00%", "0.00%", "1", "90.00%"],
        ["the", "paper", "~30.00%", "0.00%", "1", "60.00%"],
        ["the", "paper", "90.00%", "0"],
    ]
    assert "~: interpolated" in text
    assert "A row without values" in text


ARMS = """
schema: 1
steps:
  dense: {stage: pretrain, data: digits}
  t: {stage: transfer, data: digits, ticket: dense, for_each: {arm: {a: 0.1, b: 0.2}}, lr: $arm}
report: {table: t, rows: arm}
"""


@pytest.mark.parametrize(("sizes", "shown"), [((300, 67), True), ((300, 300), False)])
def test_networks_of_other_sizes_say_how_many_weights_they_have(sizes, shown):
    """A compact network keeps all that it has: of what it lost, sparsity says nothing."""
    units = {
        f"t@arm={arm}": {"task": unit({"test": {"top1": 0.5}, "sparsity": 0.0, "parameters": 1000 * size})}
        for arm, size in zip("ab", sizes, strict=True)
    }
    text = text_of(units, ARMS)
    assert ("weights" in text.splitlines()[0].split()) is shown
    assert ("67,000" in text) is shown
    assert ("a compact one has no others left" in text) is shown
