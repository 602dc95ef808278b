import pytest

from ticketcli.report.latency import in_words, latency_markdown, latency_table, layer_rows, timings


def row(median=1.0, low=0.99, high=1.01, control=(0.99, 1.01), ours=2.0, dense=2.0):
    return {
        "milliseconds": ours, "dense_milliseconds": dense, "pairs": 6,
        "faster": {"median": median, "low": low, "high": high},
        "control": {"median": 1.0, "low": control[0], "high": control[1]},
    }  # fmt: skip


def metrics(*rows, sparsity=0.79):
    batches = {str(place + 1): one for place, one in enumerate(rows)}
    return {"latency": {"cpu": {"eager": batches}, "threads": 2, "side": 32}, "sparsity": sparsity}


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (row(), "no faster"),
        (row(1.5, 1.4, 1.6), "faster"),
        (row(1.5, 1.02, 1.9), "cannot tell"),
        (row(0.5, 0.4, 0.6), "slower"),
        (row(0.98, 0.97, 0.99), "no faster"),
        (row(1.5, 1.4, 1.6, control=(0.9, 1.0)), "noisy: no verdict"),
        (row(1.5, 1.4, 1.6, control=(1.0, 1.05)), "noisy: no verdict"),
    ],
)
def test_a_verdict_is_given_only_where_the_whole_interval_and_the_control_allow_it(one, verdict):
    assert timings(metrics(one))[0].verdict == verdict


def test_a_mask_that_brings_no_speed_is_told_so_in_words():
    said = in_words(metrics(row(), row()))
    assert "79.00% of its prunable weights are masked, and that speeds up no runtime measured here (2 threads)" in said
    assert "storage" in said


def test_noise_and_speed_are_counted_apart():
    said = in_words(metrics(row(2.0, 1.9, 2.1), row(), row(control=(0.5, 2))))
    assert said == (
        "Faster than its dense network (2 threads): torch on cpu at batch 1 (2.00x). It is no faster in 1 other "
        "comparison. 1 of 3 comparisons cannot tell: too noisy, or the interval has room for both."
    )


def test_where_all_is_noise_nothing_is_said_of_speed():
    assert in_words(metrics(row(control=(0.5, 2)))).startswith("Nothing can be said")


def test_a_dense_network_is_not_called_masked():
    assert "masked" not in in_words(metrics(row(), sparsity=None))


def test_rows_come_by_runtime_and_batch_however_the_manifest_sorts_them():
    batches = {"16": row(), "1": row()}
    found = timings({"latency": {"cpu": {"compiled": batches, "eager": batches, "folded": batches}}})
    assert [(one.runtime, one.batch) for one in found] == [
        ("torch", "1"), ("torch", "16"), ("torch, folded", "1"), ("torch, folded", "16"),
        ("torch, compiled", "1"), ("torch, compiled", "16"),
    ]  # fmt: skip


def test_the_table_has_sizes_layers_and_what_was_not_measured():
    found = metrics(row())
    found["latency"]["missing"] = {"cpu, compiled, batch 1": "no compiler"}
    found["sizes"] = {"checkpoint": 1_240_000, "packed": 679_000, "memory": 1_240_000}
    found["layers"] = [
        {"name": "conv1", "macs": 1000, "kept": 25, "of": 100},
        {"name": "fc", "macs": 10, "kept": 0, "of": 0},
    ]
    text = latency_table(found)
    for words in (
        "Not measured: cpu, compiled, batch 1: no compiler",
        "on disk, packed ticket",
        "679 kB",
        "1,010",
        "260",
    ):
        assert words in text
    assert layer_rows(found)[0] == ("conv1", "1,000", "250", "25.0%")
    assert layer_rows(found)[-1] == ("all", "1,010", "260", "25.7%")


def test_nothing_measured_is_nothing_shown():
    assert latency_table({"top1": 0.5}) == latency_markdown({"top1": 0.5}) == ""


def test_markdown_says_the_same():
    text = latency_markdown(metrics(row()))
    assert text.count("| cpu | torch | 1 | 2 ms | 2 ms | 1.00x | 0.99 to 1.01 | no faster |") == 1
    assert in_words(metrics(row())) in text
