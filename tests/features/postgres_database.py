"""A schema of our own in a real PostgreSQL database, for tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/test"
CONNECT_SECONDS = 3


@contextmanager
def empty_postgres_schema() -> Iterator[str]:
    """Yield a URL whose tables lie in a new schema, and drop it again; skip where no server answers."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: extra `postgres`")
    base = sa.make_url(os.environ.get("TAGTIDE_DATABASE_URL", DEFAULT_URL))
    url = base.set(drivername="postgresql+psycopg")
    name = f"tagtide_test_{uuid.uuid4().hex}"
    engine = sa.create_engine(url, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(name))
    except sa.exc.OperationalError:
        pytest.skip(f"no PostgreSQL server answers at {DEFAULT_URL} or TAGTIDE_DATABASE_URL")
    try:
        own = url.set(drivername="postgresql").update_query_dict({"options": f"-csearch_path={name}"})
        yield own.render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(name, cascade=True))
        engine.dispose()
