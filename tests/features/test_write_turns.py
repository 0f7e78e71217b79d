"""Turns to write: taken by writers only, given back however a transaction ends."""

import threading

import pytest
import sqlalchemy as sa

from features.database import open_engine
from features.write_turns import HOLDS_TURN, take_turns

TABLE = sa.Table("t", sa.MetaData(), sa.Column("n", sa.Integer))


@pytest.fixture
def engine(home):
    engine = open_engine(None, home)
    with engine.begin() as connection:
        TABLE.metadata.create_all(connection)
    yield engine
    engine.dispose()


def test_reading_waits_for_no_writer(engine):
    with engine.begin() as writer:
        writer.execute(sa.insert(TABLE).values(n=1))
        with engine.begin() as reader:
            assert reader.execute(sa.select(TABLE.c.n)).all() == []
            assert HOLDS_TURN not in reader.info
        assert writer.info[HOLDS_TURN]


@pytest.mark.parametrize("ends", ["with", "by an error", "by a refusal", "by a lost connection"])
def test_the_turn_is_given_back_however_a_transaction_ends(tmp_path, ends):
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    turns = take_turns(engine, str(tmp_path / "x.db"), within_seconds=10)
    with engine.begin() as connection:
        TABLE.metadata.create_all(connection)

    def write():
        with engine.begin() as connection:
            connection.execute(sa.insert(TABLE).values(n=1))
            assert not turns.take(0)
            if ends == "by an error":
                raise ValueError
            if ends == "by a refusal":
                connection.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
            if ends == "by a lost connection":
                connection.invalidate()
                raise ValueError

    if ends == "with":
        write()
    else:
        with pytest.raises((ValueError, sa.exc.OperationalError)):
            write()
    assert turns.take(0)
    engine.dispose()


def test_engines_on_one_file_share_its_turns(home, engine):
    other = open_engine(None, home)
    order = []
    with engine.begin() as first:
        first.execute(sa.insert(TABLE).values(n=1))

        def write():
            with other.begin() as second:
                second.execute(sa.insert(TABLE).values(n=2))
                order.append("second")

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    other.dispose()


def test_who_gets_no_turn_goes_on_and_hears_from_sqlite(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    engines = [sa.create_engine(url, connect_args={"timeout": 0.01}) for _ in range(2)]
    for one in engines:
        take_turns(one, str(tmp_path / "x.db"), within_seconds=0.01)
    with engines[0].begin() as connection:
        TABLE.metadata.create_all(connection)
    with engines[0].begin() as first:
        first.execute(sa.insert(TABLE).values(n=1))
        with pytest.raises(sa.exc.OperationalError, match="locked"), engines[1].begin() as second:
            second.execute(sa.insert(TABLE).values(n=2))
    with engines[1].begin() as second:
        assert second.execute(sa.select(TABLE.c.n)).scalars().all() == [1]
    for one in engines:
        one.dispose()
