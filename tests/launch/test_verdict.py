"""Which of several processes was the cause, and what its code is, from what they left behind."""

import signal

import pytest

from ticketcli.launch.member import Launched, Member, Word, leave_word, read_account, read_words, this_member
from ticketcli.launch.verdict import verdict

LOST = "error: another process of this run has ended"


def word(rank, code, at=0.0, *, text=None, lost_peer=False):
    return Word(rank, 100 + rank, code, f"error: of {rank}" if text is None else text, at, lost_peer)


def found(*words, codes=None, **known):
    return verdict(range(2), 2, {one.rank: one for one in words}, Launched(codes or {}), **known)


def test_all_well_is_0_whatever_torchrun_says():
    assert found(word(0, 0), word(1, 0), returned=1, asked=signal.SIGTERM) == found(word(0, 0), word(1, 0))
    assert found(word(0, 0), word(1, 0)).code == 0


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 9, 75])
def test_the_code_of_process_0_stays_and_its_error_is_not_said_twice(code):
    result = found(word(0, code), word(1, 1, lost_peer=True))
    assert (result.code, result.text) == (code, "")


@pytest.mark.parametrize("code", [1, 5, 6, 8, 9])
def test_the_error_of_another_is_said_and_whose_it_is(code):
    result = found(word(0, 1, 1.0, text=LOST, lost_peer=True), word(1, code, 2.0))
    assert (result.code, result.text) == (code, "error: process 1 of 2: of 1")


def test_the_first_of_two_errors_is_the_cause():
    assert found(word(0, 6, 2.0), word(1, 9, 1.0)).code == 9
    assert found(word(0, 6, 1.0), word(1, 9, 2.0)).code == 6


def test_an_error_that_all_met_is_said_once():
    result = found(word(0, 5, 2.0, text="error: nothing there"), word(1, 5, 1.0, text="error: nothing there"))
    assert (result.code, result.text) == (5, "")


def test_those_who_noticed_are_not_the_cause():
    result = found(word(0, 1, text=LOST, lost_peer=True), word(1, None), codes={1: -signal.SIGKILL, 0: 1})
    assert result.code == 1
    assert "process 1 of 2 was ended by SIGKILL" in result.text
    assert "want of memory" in result.text
    assert LOST not in result.text


def test_those_whom_torchrun_ended_are_not_the_cause():
    assert "process 1 of 2 was ended by SIGSEGV" in found(codes={0: -signal.SIGTERM, 1: -signal.SIGSEGV}).text


def test_who_died_without_a_word_is_quoted(tmp_path):
    (tmp_path / "1.log").write_text("\n".join(f"line {number}" for number in range(100)))
    text = found(word(0, 1, lost_peer=True), codes={1: -6}, logs={1: tmp_path / "1.log"}).text
    assert "  | line 99" in text
    assert "line 79" not in text


def test_where_all_were_told_to_stop_nobody_failed():
    result = found(word(0, 1, lost_peer=True), asked=signal.SIGUSR2)
    assert result.code == 75
    assert result.text.startswith("stopped: SIGUSR2: ")


def test_a_failure_while_they_stop_is_a_failure():
    assert found(word(0, 1, lost_peer=True), word(1, 8), asked=signal.SIGUSR2).code == 8
    overdue = found(word(0, None), word(1, None), asked=signal.SIGUSR2, overdue=True, gone=[1], returned=-9)
    assert overdue.code == 1
    assert "process 1 of 2 was ended\n" in overdue.text


def test_an_interrupt_is_130_whatever_else():
    assert found(word(0, 75), interrupted=True).code == 130


def test_all_lost_one_that_was_elsewhere():
    result = found(word(0, 1, lost_peer=True), word(1, 1, lost_peer=True), returned=1)
    assert result.code == 1
    assert "a process of another machine ended" in result.text


def test_torchrun_itself_may_fail_or_be_killed():
    assert "torchrun: E: port in use" in verdict(range(2), 2, {}, Launched(error="E: port in use"), returned=1).text
    assert "torchrun was ended by SIGKILL" in found(word(0, None), returned=-9).text


def test_words_are_read_as_they_were_left(tmp_path):
    leave_word(tmp_path, word(1, 9, 5.0, text="error: é"))
    leave_word(tmp_path, word(0, None))
    assert read_words(tmp_path) == {0: word(0, None), 1: word(1, 9, 5.0, text="error: é")}
    assert read_account(tmp_path) == Launched()


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path):
    leave_word(tmp_path / "gone", word(0, 0))
    assert read_words(tmp_path / "gone") == {}


def test_a_lone_process_is_no_member():
    assert this_member({}) is None
    assert this_member({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}) == Member(3, 4, 2, None)
    assert this_member({"RANK": "3", "WORLD_SIZE": "4"}).follows
    assert not this_member({"RANK": "0", "WORLD_SIZE": "4"}).follows
