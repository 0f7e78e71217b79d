"""Permissions of customers who have several ids, by default, and where the database refuses."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import sqlalchemy as sa

from configs.home import open_home
from features.consent import Consent
from features.contacts import Contact, Contacts
from features.database import open_engine
from features.event_log import EventLog
from features.events import EVENT_SCHEMA
from features.identities import Resolution
from features.lake import Lake
from features.windows import to_us
from serving.errors import NotReady
from serving.outreach import forget_outreach, open_outreach
from serving.permissions import CHECK_SECONDS, Permissions
from tests.serving.parts import settings_of

NOON = datetime(2024, 6, 3, 12, tzinfo=UTC)
NOON_US = to_us(NOON)


class Links:
    def __init__(self):
        self.current = Resolution()

    def resolution(self):
        return self.current

    def join(self, *pairs):
        self.current = Resolution(links=pl.DataFrame(pairs, schema=["left", "right"], orient="row"))


class World:
    def __init__(self, home, **changes):
        self.home = home
        self.engine = open_engine(None, home)
        self.links = Links()
        self.moment = 0.0
        self.consent, self.contacts = Consent(self.engine), Contacts(self.engine)
        self.permissions = Permissions(
            self.consent, self.contacts, self.links, settings_of(home, **changes), lambda: self.moment
        )

    def later(self):
        self.moment += CHECK_SECONDS

    def say(self, customer, **changes):
        return self.permissions.change(customer, changes, at_us=1, said_by="crm")

    def reason(self, customer):
        return self.permissions.verdicts([customer], NOON_US)[customer].reason


@pytest.fixture
def make(tmp_path):
    made = []

    def of(**changes):
        made.append(World(open_home(tmp_path / "home", create=True), **changes))
        return made[-1]

    yield of
    for one in made:
        one.engine.dispose()


def test_joined_ids_are_as_restricted_as_either_and_parted_ids_as_before(make):
    world = make()
    world.say("a", marketing=True)
    world.say("b", marketing=False, profiling=False)
    world.later()
    world.links.join(("a", "b"))
    world.later()
    assert world.permissions.without_profiling(["a", "b", "c"]) == {"a", "b"}
    assert world.reason("a") == world.reason("b") == "no consent to marketing"
    world.links.current = Resolution()
    world.later()
    assert (world.reason("a"), world.reason("b")) == (None, "no consent to marketing")


def test_what_is_said_after_a_link_holds_for_all_ids(make):
    world = make()
    world.say("b", marketing=False)
    world.links.join(("a", "b"))
    assert world.say("b", marketing=True) == world.say("a", marketing=True)
    assert (world.reason("a"), world.reason("b")) == (None, None)


def test_contacts_under_any_id_of_a_customer_count(make):
    world = make()
    world.contacts.add([Contact("b", "1", NOON_US - 5)])
    world.links.join(("a", "b"))
    world.later()
    assert world.reason("a") == "frequency cap: 1 a day"


def test_silence_means_what_the_setting_says(make):
    world = make(consent_default="deny")
    world.say("a", profiling=True, marketing=True)
    world.say("b", profiling=None)
    assert world.permissions.without_profiling(["a", "b", "c"]) == {"b", "c"}
    assert (world.reason("a"), world.reason("c")) == (None, "no consent to marketing")


def test_another_process_is_heard_of_within_moments(make):
    world, other = make(), make()
    assert world.reason("a") is None
    other.say("a", do_not_disturb=True)
    world.later()
    assert world.reason("a") == "do not disturb"


def test_where_the_database_refuses_nobody_is_said_to_be_allowed(make):
    world = make()
    with world.engine.begin() as connection:
        connection.execute(sa.text("drop table consent"))
    with pytest.raises(NotReady):
        world.permissions.verdicts(["a"], NOON_US)
    with pytest.raises(NotReady):
        world.say("a", marketing=False)


def test_contacts_that_an_import_brought_count(make):
    world = make()
    row = dict.fromkeys(EVENT_SCHEMA)
    row |= {"customer_id": "a", "source": "crm", "event_type": "contact", "quantity": 1}
    times = [NOON - timedelta(hours=1), NOON - timedelta(days=9)]
    rows = [row | {"event_id": str(n), "event_time": at, "ingested_at": at} for n, at in enumerate(times)]
    view = {"event_id": "v", "customer_id": "b", "event_type": "view"}
    rows.append(row | view | {"event_time": times[0], "ingested_at": times[0]})
    lake = Lake(world.home.lake)
    lake.append(pl.DataFrame(rows, schema=EVENT_SCHEMA))
    outreach = open_outreach(world.home, settings_of(world.home), world.engine, EventLog(world.engine), None)
    for _ in range(2):
        outreach.take_in(lake, NOON_US)
    assert outreach.permissions.contacts.of(["a", "b"]) == {"a": (to_us(times[0]),), "b": ()}
    assert outreach.permissions.verdicts(["a"], NOON_US)["a"].reason == "frequency cap: 1 a day"


def test_forgetting_reaches_every_table(make):
    world = make()
    world.say("a", marketing=False)
    world.contacts.add([Contact("a", "1", 5)])
    assert forget_outreach(world.engine, ["a", "z"]) == {
        "consent": 2,
        "contacts": 1,
        "triggers": 0,
        "outbox": 0,
    }
    world.later()
    assert world.reason("a") is None
