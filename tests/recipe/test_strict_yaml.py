import pytest

from ticketcli.errors import UsageError
from ticketcli.recipe.strict_yaml import load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E4", 1e4), ("-1.5e+3", -1500.0), ("3e-3", 3e-3), (".5", 0.5), ("12", 12), ("12ep", "12ep"), ("1.5ep", "1.5ep"), ("1.2.3", "1.2.3"),
     ("1.5", 1.5), ("true", True), ("null", None), ("2026-11-21", "2026-11-21"), ("e4", "e4"), ("ours/11", "ours/11")],
)  # fmt: skip
def test_scalars_are_read_as_people_mean_them(text, value):
    found = load_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is given twice"),
        ("a: &x [1, 2]\nb: *x", "aliases"),
        ("a: !!python/object/apply:os.system [id]", "tags"),
        ("a: !!python/name:os.system ''", "tags"),
        ("a: [1, 2", "not usable YAML"),
        ("? [1, 2]\n: 3", "cannot be a key"),
        ("a: b: c", "not usable YAML"),
        ("a: 1\n---\nb: 2", "not usable YAML"),
        ("\x00", "not usable YAML"),
    ],
)
def test_what_yaml_would_let_pass_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        load_yaml(text, where="r.yaml")


def test_an_alias_bomb_is_refused_before_it_expands():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(UsageError, match="aliases"):
        load_yaml("\n".join(lines))


def test_the_error_names_file_and_line():
    with pytest.raises(UsageError) as caught:
        load_yaml("a: 1\na: 2", where="r.yaml")
    assert caught.value.where == "r.yaml, line 2, column 1"
