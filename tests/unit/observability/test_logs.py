"""Everything that a worker logs comes in one format, where and from which level on Celery was told."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
from celery.app.log import Logging
from celery.signals import after_setup_logger, after_setup_task_logger
from celery.utils.log import get_multiprocessing_logger

from tests.chaos.logs import records
from worker.app import create_app
from worker.observability.log_lines import formatter
from worker.observability.outcome_log import FIELDS
from worker.observability.redaction import Redactor
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from worker.settings import LogFormat

SECRET = "t0p-s3cret"
OF_TASKS = ("celery.worker.strategy", "celery.app.trace")


def line(form: LogFormat, message: str = "delivered", *args: object, colour: bool = False, **more: Any) -> str:
    """What a record becomes."""
    made = logging.makeLogRecord(
        {"name": "worker.x", "levelname": "INFO", "levelno": 20, "created": 1769860800.125, "msecs": 125.0}
        | {"processName": "MainProcess", "msg": message, "args": args}
        | more
    )
    return formatter(form, Redactor([SECRET]), colour=colour).format(made)


def test_the_console_has_celerys_form_and_the_fields_behind_it() -> None:
    """Whatever reads Celery's log goes on reading it."""
    written = line("console", "retry in %d s", 12, request_id="r-1", org="acme", latency_seconds=0.041)

    [(level, text)] = records(written)
    assert level == "INFO"
    assert text.endswith(",125: INFO/MainProcess] retry in 12 s request_id=r-1 org=acme latency_seconds=0.041")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a b", '"a b"'),
        ("", '""'),
        ("Zoë", "Zoë"),
        ('say "hi"', '"say \\"hi\\""'),
        ("x outcome=delivered", '"x outcome=delivered"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("a\x9b31mb", '"a\\u009b31mb"'),
    ],
)
def test_a_value_can_neither_make_a_line_nor_another_value(value: str, shown: str) -> None:
    """An org is whatever a backend says it is."""
    written = line("console", org=value)

    assert written.endswith(f"] delivered org={shown}")
    assert len(written.splitlines()) == 1


def test_json_has_one_object_a_line() -> None:
    """With the time in UTC, and numbers as numbers."""
    written = line("json", "retry: %s", "two\nlines", request_id="r-1", age_seconds=3.5)

    assert "\n" not in written
    assert json.loads(written) == {
        "timestamp": "2026-01-31T12:00:00.125Z",
        "level": "info",
        "logger": "worker.x",
        "process": "MainProcess",
        "event": "retry: two\nlines",
        "request_id": "r-1",
        "age_seconds": 3.5,
    }


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_is_in_the_record_and_no_secret_in_it(form: LogFormat) -> None:
    """A library may put anything into an error."""

    def fail() -> None:
        raise ConnectionError(f"redis://:pa55@host said no to {SECRET}")

    with pytest.raises(ConnectionError) as raised:
        fail()

    written = line(
        form, "a fault with %s", SECRET, exc_info=(raised.type, raised.value, raised.tb), stack_info="Stack:\n here"
    )

    assert "Traceback (most recent call last)" in written
    assert "redis://:[redacted]@host said no to [redacted]" in written
    assert "here" in written
    assert not [secret for secret in (SECRET, "pa55") if secret in written]


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_is_in_the_words_or_the_fields_of_a_line(form: LogFormat) -> None:
    """Of ours or of a library."""
    written = line(form, f"X-AX-KEY: {SECRET}", group=SECRET, request_id=f"redis://u:{SECRET}@h/?password=hush")

    assert "X-AX-KEY: [redacted]" in written
    assert not [secret for secret in (SECRET, "hush") if secret in written]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_that_another_handler_has_formatted_is_taken(form: LogFormat) -> None:
    """It may have come from another process, without the error itself."""
    written = line(form, "a fault", exc_text=f"Traceback of {SECRET}", exc_info=(None, None, None))

    assert "Traceback of [redacted]" in written


def test_a_line_without_words_keeps_its_time_and_its_empty_field() -> None:
    """A moment is cut to milliseconds, and not rounded into the next second."""
    late: dict[str, Any] = {"levelname": "ERROR", "created": 1769860801.9999, "msecs": 999.9}

    assert line("console", "", org="", **late).endswith(',999: ERROR/MainProcess]  org=""')
    assert json.loads(line("json", "", org="", **late)) == {
        "timestamp": "2026-01-31T12:00:01.999Z",
        "level": "error",
        "logger": "worker.x",
        "process": "MainProcess",
        "event": "",
        "org": "",
    }


def test_odd_characters_stay_in_their_line() -> None:
    """Of an answer that goes into the words, and of a name."""
    written = line("json", "rejected 404 %s", "\u2028 \\ 'x'", org="Zoë & co")

    assert "\u2028" not in written
    assert json.loads(written)["event"] == "rejected 404 \u2028 \\ 'x'"
    assert json.loads(written)["org"] == "Zoë & co"
    assert line("console", org="Zoë & co").endswith('] delivered org="Zoë & co"')


def test_a_record_may_be_of_anything() -> None:
    """Libraries log errors as they are."""
    written = line("console", cast("str", ValueError("no text")))

    assert written.endswith("] no text")


def test_a_foreign_records_own_fields_stay_out() -> None:
    """Celery adds a task's arguments to some of its lines."""
    assert line("console", data={"args": "…"}, process=4711).endswith("] delivered")


def test_percent_signs_are_taken_as_they_are() -> None:
    """The line is formatted once."""
    assert line("console", "%s", "100% %s").endswith("] 100% %s")


def test_warnings_are_coloured_on_a_terminal_and_information_is_not() -> None:
    """As Celery does it."""
    assert "\x1b[" not in line("console", colour=True)
    assert "\x1b[33mdelivered\x1b[0m" in line("console", colour=True, levelname="WARNING")
    assert "\x1b[" not in line("console", levelname="WARNING")


def test_no_field_has_the_name_of_something_that_every_record_has() -> None:
    """`logging` refuses such a line."""
    assert not set(FIELDS) & set(logging.makeLogRecord({}).__dict__)


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Let Celery set its logging up for one app, as a worker does that starts; all is as before afterwards."""
    names = (None, "celery", "celery.task", "celery.redirected", *OF_TASKS)
    loggers = [*map(logging.getLogger, names), get_multiprocessing_logger()]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    formats = [(handler, handler.formatter) for logger in loggers for handler in logger.handlers]  # pytest's own
    for signal in (after_setup_logger, after_setup_task_logger):
        monkeypatch.setattr(signal, "receivers", [])
    monkeypatch.setattr(Logging, "_setup", False)
    apps = []

    def begin(form: LogFormat, *, loglevel: int = logging.INFO) -> Path:
        app = create_app(load_settings(_env_file=None, aquilax_api_key=SECRET, feedback_log_format=form))
        apps.append(app)
        log = tmp_path / "worker.log"
        app.log.setup_logging_subsystem(loglevel=loglevel, logfile=str(log), colorize=False)
        return log

    yield begin
    for logger, handlers, level, propagate in before:
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    for handler, form in formats:
        handler.setFormatter(form)
    for app in apps:
        app.close()


def test_celerys_lines_and_those_of_others_come_in_the_same_format(set_up: Callable[..., Path]) -> None:
    """In the file that `--logfile` names."""
    log = set_up("json")

    logging.getLogger("celery.worker").info("ready with %s", SECRET)
    logging.getLogger("celery.task").info("of a task")
    logging.getLogger("another.package").warning("hm")

    lines = [json.loads(text) for text in log.read_text().splitlines()]
    assert [(found["logger"], found["event"]) for found in lines] == [
        ("celery.worker", "ready with [redacted]"),
        ("celery.task", "of a task"),
        ("another.package", "hm"),
    ]


def test_the_level_is_celerys(set_up: Callable[..., Path]) -> None:
    """`--loglevel` decides, as ever."""
    log = set_up("console", loglevel=logging.WARNING)

    logging.getLogger("worker.x").info("an unread line")
    logging.getLogger("worker.x").warning("a read line")

    assert [(level, "a read line" in text) for level, text in records(log.read_text())] == [("WARNING", True)]


@pytest.mark.parametrize(("loglevel", "says"), [(logging.INFO, False), (logging.DEBUG, True)])
def test_celery_is_silent_about_single_tasks_unless_everything_is_asked_for(
    set_up: Callable[..., Path], loglevel: int, *, says: bool
) -> None:
    """An outcome is one line, and not three."""
    set_up("console", loglevel=loglevel)

    assert [logging.getLogger(name).isEnabledFor(logging.INFO) for name in OF_TASKS] == [says, says]
    assert all(logging.getLogger(name).isEnabledFor(logging.WARNING) for name in OF_TASKS)
