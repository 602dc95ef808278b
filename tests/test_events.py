"""What people see while it works: lines in a log, a bar on a terminal."""

import io

import pytest
from rich.console import Console

from ticketcli.events import Bar, Measured, Note, Pause, PlainLines, Progress


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(clock):
    """Lines in a log, and what was written there."""
    stream = io.StringIO()
    return PlainLines("ours", stream=stream, clock=clock), lambda: stream.getvalue().splitlines()


def work(clock, listener, what, *, seconds, total=10, **values):
    """So many events of one phase, evenly over its seconds."""
    for done in range(1, total + 1):
        clock.now += seconds / total
        listener.on(Progress(what, done, total, values))


def test_a_long_phase_has_a_line_every_30_seconds(clock, log):
    work(clock, log[0], "round 1/3", seconds=100, total=100, loss=0.5)
    assert log[1]() == [
        "ours: round 1/3 30/100, 1.0/s, 1m 10s left, loss 0.5",
        "ours: round 1/3 60/100, 1.0/s, 40s left, loss 0.5",
        "ours: round 1/3 90/100, 1.0/s, 10s left, loss 0.5",
    ]


def test_short_phases_have_a_line_every_30_seconds_too_and_no_flood(clock, log):
    for number in range(60):
        work(clock, log[0], f"phase {number}", seconds=5)
    assert 9 <= len(log[1]()) <= 10  # 300 seconds
    assert log[1]()[0].startswith("ours: phase 5 10/10, ")


def test_what_has_just_begun_has_no_rate(clock, log):
    clock.now += 31
    log[0].on(Pause("images", 0, 4))
    assert log[1]() == ["ours: images 0/4"]


def test_a_step_that_is_soon_done_says_its_notes_alone(clock, log):
    log[0].on(Note("42 weights"))
    work(clock, log[0], "round 1/3", seconds=29)
    log[0].on(Measured("unit", {"top1": 1.0}))
    assert log[1]() == ["ours: 42 weights"]


@pytest.fixture
def screen(clock):
    """A bar on a terminal, and what has been written there since the last look."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140, color_system=None)
    bar = Bar("ours", console=console, clock=clock)

    def seen():
        bar.bar.refresh()
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text

    yield bar, seen
    bar.close()


def test_the_bar_shows_how_far_how_fast_how_long_and_the_values(clock, screen):
    bar, seen = screen
    work(clock, bar, "round 1/3", seconds=5, total=10, loss=0.25)
    work(clock, bar, "round 2/3", seconds=2, total=4, loss=0.125)
    text = seen()
    for words in ("ours", "round 2/3", "4/4", "2.0/s", "loss 0.125"):
        assert words in text
    assert "round 1/3" not in text.split("\r")[-1]


def test_the_bar_moves_ten_times_a_second_at_most_and_always_to_the_end(clock, screen):
    bar, seen = screen
    for done, seconds, shown in ((1, 0, "1/4"), (2, 0.05, "1/4"), (3, 0.06, "3/4"), (4, 0.01, "4/4")):
        clock.now += seconds
        bar.on(Pause("images", done, 4))
        assert shown in seen()


def test_a_note_stands_above_the_bar_as_it_is_written(clock, screen):
    bar, seen = screen
    bar.on(Progress("round 1/3", 1, 3))
    bar.on(Note("[bold]layer3[/bold] has 12 channels"))
    assert "ours: [bold]layer3[/bold] has 12 channels" in seen()


def test_nothing_of_the_bar_stays_on_the_screen(clock, screen):
    bar, seen = screen
    bar.on(Progress("round 1/3", 1, 3))
    seen()
    bar.close()
    assert bar.bar.live.transient
    assert not bar.bar.live.is_started
