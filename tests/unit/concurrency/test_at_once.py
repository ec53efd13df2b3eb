"""Several questions at once."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from worker.concurrency.at_once import ask_at_once, do_at_once

if TYPE_CHECKING:
    from collections.abc import Callable


def test_answers_come_in_the_order_of_the_questions() -> None:
    """Whoever answers first; an exception stands in the place of its answer."""
    both_are_asked = threading.Barrier(2)

    def answer(number: int) -> int:
        both_are_asked.wait(10)
        return number

    def fail() -> int:
        raise ValueError("no")

    questions: list[Callable[[], int]] = [partial(answer, 1), fail, partial(answer, 2)]
    first, failure, second = ask_at_once(questions)

    assert [first, second] == [1, 2]
    assert isinstance(failure, ValueError)
    assert ask_at_once([]) == []


def test_a_single_question_is_asked_in_the_thread_that_calls() -> None:
    """Which costs nothing where there is one partition."""
    assert ask_at_once([threading.get_ident]) == [threading.get_ident()]


def test_an_answer_that_does_not_come_in_time_is_given_up() -> None:
    """The others are there; and what was begun goes on."""
    may_end, has_ended = threading.Event(), threading.Event()

    def slow() -> str:
        may_end.wait(10)
        has_ended.set()
        return "late"

    late, prompt = ask_at_once([slow, lambda: "prompt"], within=0.2)

    assert prompt == "prompt"
    assert isinstance(late, TimeoutError)
    may_end.set()
    assert has_ended.wait(10)


def test_what_fails_keeps_nothing_else_from_being_done() -> None:
    """The first failure is raised once all is done."""
    done: list[int] = []

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        do_at_once([fail, lambda: done.append(1), lambda: done.append(2)])
    assert sorted(done) == [1, 2]
