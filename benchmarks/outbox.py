"""What the outbox costs: a press beside an INSERT of the backend's own, and the relay beside `enqueue_many`."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine, String, create_engine, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.consumers import OURS
from benchmarks.databases import KINDS, Databases
from benchmarks.sample import Measurement, Sample, quantile
from benchmarks.servers import rig
from producer import FeedbackEvent, FeedbackProducer, outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan

__all__ = ["OUTBOX", "outbox_costs"]

_SECONDS: Final = 3
_WARM: Final = 50

OUTBOX: Final = Measurement(
    name="outbox",
    title="Outbox",
    text="One thread writes a row of its own in each transaction, through SQLAlchemy's ORM, without and with "
    f"`outbox.add`, for {_SECONDS} s. Then a relay carries rows that wait, beside `enqueue_many` of the same events, "
    "which reads no database and deletes nothing. CPU is that process's own, without the database's and Redis'.",
)


class _Base(DeclarativeBase):
    pass


class _Answer(_Base):
    __tablename__ = "answers"

    request_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    helpful: Mapped[bool]


_ROWS: Final = outbox.table(_Base.metadata)


def outbox_costs(plan: Plan) -> Iterator[Sample]:
    """Measure on every database, round by round."""
    with rig() as servers, Databases() as databases, closing(servers.start_redis()) as client:
        url = servers.environment["FEEDBACK_BROKER_URL"]
        for _ in range(plan.rounds):
            for kind in plan.databases:
                plan.tell(KINDS[kind])
                engine = create_engine(databases.fresh(kind).url)
                _Base.metadata.create_all(engine)
                for subject, adds in (("the backend's own row alone", False), (OURS, True)):
                    figures = _presses(engine, adds=adds)
                    setup = "and its feedback" if adds else ""
                    yield Sample(case=f"presses: {KINDS[kind]}", subject=subject, setup=setup, figures=figures)
                client.flushall()
                with FeedbackProducer(url, timeout=5) as producer:
                    yield from _carried(engine, producer, plan.events, case=f"carrying: {KINDS[kind]}")
                engine.dispose()


def _presses(engine: Engine, *, adds: bool) -> dict[str, float]:
    took: list[float] = []
    with Session(engine) as session:
        for _ in range(_WARM):
            _press(session, adds=adds)
        cpu, began = time.process_time(), time.perf_counter()
        while (at := time.perf_counter()) < began + _SECONDS:
            _press(session, adds=adds)
            took.append((time.perf_counter() - at) * 1000)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    took.sort()
    return {
        "transactions/s": len(took) / seconds,
        "p50 ms": quantile(took, 0.5),
        "p99 ms": quantile(took, 0.99),
        "CPU µs": cpu / len(took) * 1e6,
    }


def _press(session: Session, *, adds: bool) -> None:
    request_id = str(uuid.uuid4())
    session.add(_Answer(request_id=request_id, helpful=True))
    if adds:
        outbox.add(session, request_id, True, org="65dd3e835a669e3347654200", group="67e86d036e9921509f730483")
    session.commit()


def _carried(engine: Engine, producer: FeedbackProducer, number: int, *, case: str) -> Iterator[Sample]:
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g") for _ in range(number)]
    rows = [{**event.to_wire(), "created_at": datetime.now(UTC).isoformat()} for event in events]
    relay = outbox.Relay(engine, producer)
    relay.run_once()  # what the presses left
    with engine.begin() as connection:
        connection.execute(insert(_ROWS), rows)
    for subject, setup, carry in (
        ("enqueue_many", "no database", partial(producer.enqueue_many, events)),
        (OURS, "relay", relay.run_once),
    ):
        cpu, began = time.process_time(), time.perf_counter()
        carried = carry()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        figures = {"events/s": carried / seconds, "CPU µs": cpu / number * 1e6}
        yield Sample(case=case, subject=subject, setup=setup, figures=figures, missing=number - carried)
