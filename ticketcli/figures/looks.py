"""How the curves of a figure are told apart: by colour, by the shape of their marks and by the pattern of their line.

The colours keep their distance for eyes that see no red or no green, and have a contrast of at least 3 to white and,
their second form, to near-black. `tests/figures/test_looks.py` computes both.
"""

from __future__ import annotations

from ticketcli.figures.svg import INK, element

# on white, on near-black
COLOURS = (
    ("#0048d6", "#266df5"),
    ("#813010", "#c54f2b"),
    ("#339d6e", "#30fcad"),
    ("#872287", "#fea2fe"),
    ("#ac8909", "#ffb73a"),
    ("#6c7381", "#e2e8f5"),
    ("#852047", "#bc4a71"),
    ("#0fa0c5", "#249cb8"),
)
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "4 2")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "down", "plus", "star")


def look(number: int) -> str:
    """The class of the n-th look; they repeat after eight, with another line."""
    return f"s{number % len(COLOURS)}"


def dash(number: int, *, is_control: bool = False) -> str | None:
    """The pattern of the line: solid for the first eight, controls dotted."""
    return (_DASHES[2] if is_control else _DASHES[number // len(COLOURS) % len(_DASHES)]) or None


def colour(number: int) -> str:
    """The colour on white, for viewers that know no style sheets."""
    return COLOURS[number % len(COLOURS)][0]


def mark(number: int, x: float, y: float, *, inner: str = "", is_hollow: bool = False, size: float = 4.5) -> str:
    """The mark of the n-th look at a place; hollow ones are controls. `inner` is the tip."""
    shape, paint = SHAPES[number % len(SHAPES)], colour(number)
    outline = {"class_": f"line {look(number)}", "stroke": paint, "stroke_width": 2, "fill": "none"}
    if shape in ("cross", "plus"):
        r = size * (0.85 if shape == "cross" else 1.1)
        d = f"M{x - r:.1f} {y - r:.1f}L{x + r:.1f} {y + r:.1f}M{x - r:.1f} {y + r:.1f}L{x + r:.1f} {y - r:.1f}"
        if shape == "plus":
            d = f"M{x - r:.1f} {y:.1f}H{x + r:.1f}M{x:.1f} {y - r:.1f}V{y + r:.1f}"
        return element("path", inner, d=d, **outline)
    body = outline | {"class_": f"{outline['class_']} hollow", "fill": INK["paper"][0]} if is_hollow else {
        "class_": f"fill {look(number)}", "fill": paint,
    }  # fmt: skip
    if shape == "circle":
        return element("circle", inner, cx=x, cy=y, r=size, **body)
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _CORNERS[shape])
    return element("polygon", inner, points=points, **body)


_CORNERS = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    "down": ((0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    "star": ((0.0, -1.4), (0.4, -0.4), (1.4, 0.0), (0.4, 0.4), (0.0, 1.4), (-0.4, 0.4), (-1.4, 0.0), (-0.4, -0.4)),
}


def style() -> str:
    """The rules of all figures: their colours in a dark room. On paper they are those of the white form."""
    dark = [f".figure .{name}{{fill:{pair[1]}}}" for name, pair in INK.items()]
    dark.append(f".figure .axis{{stroke:{INK['rule'][1]};fill:none}}")
    for number, (_, bright) in enumerate(COLOURS):
        dark.append(f".figure .line.s{number}{{stroke:{bright}}}.figure .fill.s{number}{{fill:{bright}}}")
    dark.append(f".figure .hollow{{fill:{INK['paper'][1]}}}.figure .reference{{stroke:{INK['ink'][1]}}}")
    return (
        ".figure text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
        f"@media screen and (prefers-color-scheme:dark){{{''.join(dark)}}}"
    )
