import pytest

from ticketcli.errors import UsageError
from ticketcli.units import Duration, human_bytes, human_seconds, parse_bytes


@pytest.mark.parametrize(("text", "iterations"), [("2ep", 20), ("0.5ep", 5), ("0ep", 0), ("7it", 7), ("1.25ep", 12)])
def test_a_duration_becomes_iterations(text, iterations):
    assert Duration.parse(text).iterations(10) == iterations


@pytest.mark.parametrize("text", ["10", 10, "ep", "-1ep", "1.5it", "10 epochs", "", None])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError, match=r"duration|whole number"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["90ep", "2000it", "0.5ep"])
def test_a_duration_reads_back(text):
    assert str(Duration.parse(text)) == text


def test_sizes_and_times_read_as_people_write_them():
    assert [human_bytes(n) for n in (512, 2_930_000, 94_000_000, 5_000_000_000)] == [
        "512 B",
        "2.93 MB",
        "94 MB",
        "5 GB",
    ]
    assert [human_seconds(s) for s in (48, 185, 7800)] == ["48s", "3m 05s", "2h 10m"]


@pytest.mark.parametrize(("text", "n"), [("2GB", 2 * 10**9), ("1.5 mb", 1_500_000), ("300kB", 300_000), ("7B", 7)])
def test_a_size_becomes_bytes(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["2", "GB", "2 GiB", "-1GB", "0GB", "0.0001B", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(("n", "text"), [(999, "999 B"), (999_400, "999 kB"), (999_600, "1 MB"), (999_600_000, "1 GB")])
def test_a_size_that_is_rounded_to_1000_is_one_of_the_next_unit(n, text):
    assert human_bytes(n) == text
