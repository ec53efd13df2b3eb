#!/bin/sh
# SQLAlchemy: `insert(Entity).values({...})`, executed by a Core connection, takes the names of the mapped attributes. The
# same dictionary given as parameters, `connection.execute(insert(Entity), [{...}])`, is taken by the names of the columns,
# and a key that is only the name of an attribute is dropped without an error or a warning: the column stays NULL. A key that
# names nothing at all is dropped as well, while `.values()` refuses it ("Unconsumed column names").
#
# So turning a single insert into a group of them can lose a column whose attribute has another name, in silence.
#
# Seen with SQLAlchemy 2.1.9. Exits 0 if that is still so.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "sqlalchemy==2.1.9"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import sqlalchemy
from sqlalchemy import String, create_engine, exc, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

warnings.simplefilter("error")


class Base(DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    group: Mapped[str | None] = mapped_column("person_group", String(9))


engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
with engine.begin() as connection:
    connection.execute(insert(Person).values({"id": 1, "group": "values"}))
    connection.execute(insert(Person), [{"id": 2, "group": "parameters"}, {"id": 3, "group": "parameters", "nonsense": 1}])
    rows = connection.execute(select(Person.id, Person.group).order_by(Person.id)).all()
    try:
        connection.execute(insert(Person).values({"id": 4, "nonsense": 1}))
        refused = ""
    except exc.CompileError as error:
        refused = str(error)
print("SQLAlchemy", sqlalchemy.__version__)
print(rows)
print(refused)
sys.exit(0 if rows == [(1, "values"), (2, None), (3, None)] and "Unconsumed" in refused else 1)
PYTHON
