import pytest

from ticketcli.errors import CorruptError, NoSpaceError
from ticketcli.store.generations import Generations, unit_of


def save(folder, unit="round-01", text="x", generations=None):
    generations = generations or Generations(folder, unit)
    generations.commit(lambda path: path.write_text(text) and None)
    return generations


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_of_ones_own_are_kept(tmp_path):
    generations = Generations(tmp_path, "round-01")
    for number in range(5):
        save(tmp_path, text=str(number), generations=generations)
    assert names(tmp_path) == ["round-01-000000004.safetensors", "round-01-000000005.safetensors"]
    assert [path.read_text() for path in generations.newest_first()] == ["4", "3"]


def test_a_save_that_fails_deletes_nothing(tmp_path):
    generations = save(tmp_path, generations=save(tmp_path))

    def full(path):
        raise NoSpaceError("full")

    with pytest.raises(NoSpaceError):
        generations.commit(full)
    assert len(names(tmp_path)) == 2


def test_states_of_another_config_are_neither_used_nor_deleted_nor_overwritten(tmp_path):
    save(tmp_path, text="other", generations=save(tmp_path, text="other"))
    said = []
    mine = Generations(tmp_path, "round-01")
    assert mine.recall(lambda path: None, said.append) is None
    assert all("belongs to another config" in line for line in said)
    for _ in range(4):
        save(tmp_path, text="mine", generations=mine)
    mine.drop()
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["other", "other"]


def test_the_newest_good_one_is_recalled_and_the_damaged_told(tmp_path):
    generations = Generations(tmp_path, "round-01")
    for text in ("first", "second", "bad"):
        generations.own.clear()
        save(tmp_path, text=text, generations=generations)

    def read(path):
        if path.read_text() == "bad":
            raise CorruptError("spoilt")
        return path.read_text()

    said = []
    again = Generations(tmp_path, "round-01")
    assert again.recall(read, said.append) == "second"
    assert said == ["round-01-000000003.safetensors is damaged (spoilt); falling back to the one before"]
    assert [path.name for path in again.own] == ["round-01-000000001.safetensors", "round-01-000000002.safetensors"]
    save(tmp_path, generations=again)  # the damaged one's name is not taken again
    assert names(tmp_path)[-1] == "round-01-000000004.safetensors"


def test_units_whose_names_begin_alike_are_kept_apart(tmp_path):
    for unit in ("round-1", "round-1-000000001", "round-11", "round"):
        save(tmp_path, unit=unit)
    for unit in ("round-1", "round-1-000000001", "round-11", "round"):
        assert [unit_of(path.name) for path in Generations(tmp_path, unit).newest_first()] == [unit]


@pytest.mark.parametrize(
    "name",
    [
        "round-01.safetensors",
        "round-01-1.safetensors",
        "-000000001.safetensors",
        "x",
        "round-01-" + "9" * 30 + ".safetensors",
    ],
)
def test_other_files_are_no_states(name):
    assert unit_of(name) == ""


def test_the_tenth_digit_is_counted_not_compared_as_a_word(tmp_path):
    (tmp_path / "u-999999999.safetensors").write_text("older")
    generations = save(tmp_path, unit="u", text="newer")
    assert generations.newest_first()[0].name == "u-1000000000.safetensors"
