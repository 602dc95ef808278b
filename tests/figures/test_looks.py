"""Curves can be told apart, on white and on near-black, with and without seeing red and green."""

import itertools

import pytest

from ticketcli.figures.looks import COLOURS, SHAPES, dash, mark, style
from ticketcli.figures.svg import INK

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009
NO_GREEN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
NO_RED = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))


def linear(colour):
    values = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]


def luminance(colour):
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(values):
    x, y, z = (
        sum(weight * value for weight, value in zip(row, values, strict=True)) / white
        for row, white in (
            ((0.4124, 0.3576, 0.1805), 0.9505), ((0.2126, 0.7152, 0.0722), 1.0), ((0.0193, 0.1192, 0.9505), 1.089),
        )
    )  # fmt: skip
    f = [max(value, 0) ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z)]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def seen(colour, matrix):
    values = linear(colour)
    return lab([min(max(sum(w * v for w, v in zip(row, values, strict=True)), 0), 1) for row in matrix])


@pytest.mark.parametrize("side", [0, 1])
def test_every_colour_stands_out_from_its_ground(side):
    assert min(contrast(pair[side], INK["paper"][side]) for pair in COLOURS) >= 3


@pytest.mark.parametrize("side", [0, 1])
def test_words_can_be_read(side):
    assert contrast(INK["ink"][side], INK["paper"][side]) >= 7
    assert contrast(INK["quiet"][side], INK["paper"][side]) >= 4.5


@pytest.mark.parametrize("matrix", [NO_GREEN, NO_RED], ids=["no green", "no red"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("n", "least"), [(5, 30), (8, 18)])
def test_colours_stay_apart_without_red_or_green(side, matrix, n, least):
    places = [seen(pair[side], matrix) for pair in COLOURS[:n]]
    apart = [sum((a - b) ** 2 for a, b in zip(*two, strict=True)) ** 0.5 for two in itertools.combinations(places, 2)]
    assert min(apart) > least  # 2.3 is just noticeable side by side


def test_no_two_of_the_first_forty_looks_are_alike():
    looks = {(COLOURS[n % 8], SHAPES[n % 8], dash(n)) for n in range(40)}
    assert len(looks) == 40
    assert len({mark(n, 10, 10) for n in range(8)}) == 8


def test_a_control_is_hollow_and_dotted():
    assert mark(0, 1, 1, is_hollow=True) != mark(0, 1, 1)
    assert dash(0) is None
    assert dash(0, is_control=True)


def test_dark_colours_are_for_screens_alone():
    assert style().count("@media") == 1
    assert "@media screen and (prefers-color-scheme:dark)" in style()
