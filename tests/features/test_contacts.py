"""Contacts: each once, whoever reports it, and gone when they count for nothing."""

import contextlib

import pytest

from configs.home import open_home
from features.contacts import KEPT_US, Contact, Contacts, contact_key
from features.database import open_engine
from tests.features.postgres_database import empty_postgres_schema


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    with contextlib.ExitStack() as stack:
        url = None if request.param == "sqlite" else stack.enter_context(empty_postgres_schema())
        made = open_engine(url, open_home(tmp_path / "home", create=True))
        yield made
        made.dispose()


def test_a_contact_counts_once_however_often_it_is_reported(engine):
    contacts = Contacts(engine)
    key = "0" * 32
    contacts.add([Contact("a", key, 5), Contact("a", contact_key("crm", key), 9), Contact("a", "1", 7)])
    contacts.add([Contact("b", key, 8)])
    assert contacts.of(["a", "b", "c"]) == {"a": (5, 7), "b": (8,), "c": ()}


def test_the_same_id_of_two_sources_is_two_contacts():
    assert len({contact_key("crm", "1"), contact_key("shop", "1"), contact_key("crm", "2")}) == 3


def test_another_process_sees_what_was_added_taken_back_and_forgotten(engine):
    here, there = Contacts(engine), Contacts(engine)
    there.refresh()
    assert there.of(["a"]) == {"a": ()}
    here.add([Contact("a", "1", 5), Contact("a", "2", 6)])
    there.refresh()
    assert there.of(["a"]) == {"a": (5, 6)}
    here.take_back(["1"])
    there.refresh()
    assert there.of(["a"]) == {"a": (6,)}
    assert here.forget(["a", "z"]) == 1
    there.refresh()
    assert there.of(["a"]) == {"a": ()}


def test_old_contacts_are_dropped(engine):
    contacts = Contacts(engine)
    contacts.add([Contact("a", "1", 5), Contact("a", "2", 6)])
    assert contacts.prune(5 + KEPT_US) == 1
    assert contacts.of(["a"]) == {"a": (6,)}


def test_more_customers_than_one_statement_names_are_read(engine):
    contacts = Contacts(engine)
    names = [f"c{number}" for number in range(1201)]
    contacts.add([Contact(name, "1", number) for number, name in enumerate(names)])
    assert contacts.of(names) == {name: (number,) for number, name in enumerate(names)}
