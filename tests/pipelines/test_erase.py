from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from configs.home import Home, open_home
from configs.settings import Settings, load_settings
from features.consent import Consent
from features.contacts import Contact, Contacts
from features.database import open_engine
from features.event_log import EventLog
from features.file_lock import SharedLock
from features.lake import Lake
from features.life_cycle import Evidence, TagRecord
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, open_packed_store
from features.publishing import customer_frame, memory_rows
from features.quarantine import Quarantine
from features.resolver import open_resolver
from features.tombstones import Tombstones
from features.windows import to_us
from monitoring.claims import Prediction, Transition
from monitoring.ledger import Ledger
from pipelines import cli
from pipelines.current_lake import lake_up_to_date
from pipelines.import_events import import_source
from pipelines.link_changes import change_links
from serving.erasure import Receipt, erase
from serving.errors import UnknownCustomerError
from serving.live_tags import LiveTags
from serving.outbox import Message, Outbox
from serving.pending import Pending, PendingTriggers, Record
from tests.features.made_events import event, frame
from tests.features.postgres_database import empty_postgres_schema
from tests.features.redis_database import empty_redis_database
from tests.monitoring.shop import claim
from tests.pipelines.id_search import keys_naming, places_naming, rows_naming
from tests.pipelines.two_shops import NOW, bring_in, rows, settings_of, source

WEB_ID, POS_ID, UNIONID, OTHER = "web-Zq7x-1401", "till-Kk81-77", "oX3f-Rr55", "bob-1"
IDS = [WEB_ID, POS_ID, UNIONID]
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def chosen(home: Home) -> Settings:
    return settings_of(home)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with everything of somebody in it, and beside it the sources it came from."""
    folder = tmp_path_factory.mktemp("filled")
    home = open_home(folder / "home", create=True)
    fill(home, settings_of(home), folder)
    return folder


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Home:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return open_home(tmp_path / "home", create=False)


@pytest.fixture(params=["sqlite", "redis", "postgresql"])
def filled_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Home, Settings]]:
    """The same with the online values, or the database, elsewhere."""
    if request.param == "sqlite":
        home = request.getfixturevalue("filled")
        yield home, settings_of(home)
        return
    is_redis = request.param == "redis"
    with empty_redis_database() if is_redis else empty_postgres_schema() as url:
        home = open_home(tmp_path / "home", create=True)
        changes = {"online_store": "redis", "redis_url": url} if is_redis else {"database_url": url}
        chosen = settings_of(home, **changes)
        fill(home, chosen, tmp_path)
        yield home, chosen


def found(home: Home, chosen: Settings, ids: list[str] = IDS) -> list[str]:
    keys = [] if chosen.redis_url is None else keys_naming(chosen.redis_url.get_secret_value(), ids)
    if chosen.database_url is not None:
        keys = rows_naming(chosen.database_url.get_secret_value(), ids)
    return places_naming(home.root, ids) + keys


def web(folder: Path) -> Any:
    made = rows([(WEB_ID, UNIONID), (OTHER, None)])
    made += [row | {"id": f"bad-{row['id']}", "price": "much"} for row in made]
    made += [made[0] | {"id": "bad-time", "at": "soon"}, made[0] | {"id": "bad-kind", "kind": "none"}]
    made += [made[2] | {"id": "referred", "kind": "none", "wx": UNIONID}]
    mapping = source(folder, "web", made, identities={"unionid": "wx"})
    # A line of too few columns, which never became a row.
    with (folder / "web.csv").open("a") as file:
        file.write(f"cut-1,{WEB_ID}\n")
    return mapping


def pos(folder: Path) -> Any:
    return source(folder, "pos", rows([(POS_ID, UNIONID), (OTHER, None)]), identities={"unionid": "wx"})


def claims_of(home: Home, chosen: Settings, customer: str) -> None:
    engine = open_engine(chosen.database_url, home)
    ledger = Ledger(engine)
    ledger.record(
        [claim(customer, 1.0)], [Transition(customer, "interest:TEA", 1, "absent", "assigned", "x")]
    )
    ledger.record_predictions([Prediction(customer, "72h", 0.5, 1, "propensity/1")])
    ledger.write_outcomes(
        ledger.read().filter(customer_id=customer).select("claim_id", outcome=pl.lit("confirmed")), 9
    )
    engine.dispose()


def outreach_of(home: Home, chosen: Settings, customer: str) -> None:
    engine = open_engine(chosen.database_url, home)
    Consent(engine).change(customer, {"marketing": True}, at_us=1, said_by=f"{customer} by phone")
    Contacts(engine).add([Contact(customer, "k", 1)])
    pending = PendingTriggers(engine)
    with pending.transaction() as connection:
        pending.put([Pending("t", customer, "", "k", 1, 2, f'{{"event_id": "{customer}"}}')], connection)
        pending.record([Record(f"r-{customer}"[:32], "t", customer, "", 1, "blocked", "x")], connection)
        pending.set_levels([("t", customer)], [], connection)
    Outbox(engine).add([Message(f"m-{customer}"[:32], "trigger.fired", customer, customer.encode())], 1)
    engine.dispose()


def fill(home: Home, chosen: Settings, folder: Path) -> None:
    """Put somebody under three ids, and somebody else, wherever a home keeps customers."""
    for mapping in (web(folder), pos(folder)):
        import_source(home, chosen, mapping, now=NOW)
    engine = open_engine(chosen.database_url, home)
    posted = [
        event(number, customer_id=customer, event_id=f"p{number}-{customer}", event_time=NOW, source="api")
        for number, customer in enumerate([WEB_ID, f"pos:{POS_ID}", f"web:{WEB_ID}", OTHER])
    ]
    EventLog(engine).append(frame(posted))
    raw = json.dumps({"event_id": "x", "customer_id": f"pos:{POS_ID}", "quantity": -1})
    refusal = {"row": 1, "field": "quantity", "value": "-1", "expected": "0 or more", "raw": raw}
    Quarantine(home.quarantine).append("api", pl.DataFrame([refusal]), NOW)
    engine.dispose()
    lake = lake_up_to_date(home, chosen)
    memories = memory_rows(lake.read(), to_us(NOW))
    with contextlib.closing(open_packed_store(home, chosen)) as store:
        for view in (CUSTOMER_MEMORY, CUSTOMER_PROFILE):
            store.put_many(view, memories)
        tag = TagRecord(
            Evidence("t:x", "t", "x", 0.6, 0.9, 0.5, 0.8, 3.0, "1", True, True), "assigned", 1, 1, 2
        )
        LiveTags(store).write({row.key: {"t:x": tag} for row in memories}, 1, None)
    for path in ("profiles/customer_memory.parquet", "snapshots/customer.parquet"):
        target = home.feature_store / path
        target.parent.mkdir(parents=True, exist_ok=True)
        customer_frame(memories).write_parquet(target)
    (home.feature_store / "profiles" / ".customer-ab.tmp").write_bytes(WEB_ID.encode())
    (home.scores / "2024").mkdir(parents=True)
    lake.read(columns=["customer_id"]).unique().write_parquet(home.scores / "2024" / "tags.parquet")
    (home.reports / "demo").mkdir(parents=True)
    summary = {"example_customer": WEB_ID, "numbers": {"n": 3}}
    (home.reports / "demo" / "summary.json").write_text(json.dumps(summary))
    for customer in (WEB_ID, f"pos:{POS_ID}", OTHER):
        claims_of(home, chosen, customer)
        outreach_of(home, chosen, customer)


def do(home: Home, chosen: Settings, customer: str = WEB_ID, now: datetime = LATER) -> Receipt:
    return erase(home, chosen, customer, now=now)


def test_an_erased_customer_is_nowhere_and_does_not_come_back(
    filled_store: tuple[Home, Settings], tmp_path: Path
) -> None:
    home, chosen = filled_store
    before = found(home, chosen)
    database = "tagtide.db" if chosen.database_url is None else "event_log"
    for place in ("lake", database, "quarantine", "feature_store", "scores", "reports"):
        assert any(place in name for name in before), place
    others = lake_up_to_date(home, chosen).read().filter(pl.col("customer_id").str.ends_with(OTHER))

    receipt = do(home, chosen, f"pos:{POS_ID}")
    assert found(home, chosen) == []
    assert receipt.ids == 3
    assert receipt.rows["lake"] == 9
    assert receipt.rows["event_log"] == 3
    assert all(receipt.rows.values()), receipt.rows
    assert not any(one in json.dumps(receipt.rows) for one in IDS)

    for mapping, quarantined in ((web(tmp_path), 3), (pos(tmp_path), 0)):
        report = import_source(home, chosen, mapping, now=LATER + timedelta(days=1))
        assert (report.stored, report.linked, report.quarantined) == (0, 0, quarantined)
        assert report.erased
        parts = report.stored + report.duplicate + report.quarantined + report.left_out + report.later
        assert report.rows_read == parts + report.erased
    assert found(home, chosen) == []
    left = lake_up_to_date(home, chosen).read()
    assert left.equals(others)
    assert found(home, chosen, [OTHER])


def test_erasing_again_is_harmless_and_completes_what_came_in_between(filled: Home, tmp_path: Path) -> None:
    home, chosen = filled, settings_of(filled)
    first = do(home, chosen)
    again = do(home, chosen, now=LATER + timedelta(hours=1))
    assert not any(again.rows.values())
    assert again.ids == 1
    assert again.erasure_id != first.erasure_id
    assert found(home, chosen) == []


def test_somebody_unknown_is_said_to_be_unknown_and_leaves_nothing(filled: Home, tmp_path: Path) -> None:
    home, chosen = filled, settings_of(filled)
    before = [name for name in found(home, chosen) if not name.endswith(".tmp")]
    with pytest.raises(UnknownCustomerError, match="nothing is known of such a customer") as raised:
        do(home, chosen, "web-Zq7x-140")
    assert not any(one in str(raised.value) + raised.value.next_step for one in [*IDS, "Zq7x", OTHER])
    assert found(home, chosen) == before
    engine = open_engine(None, home)
    assert not open_resolver(home, engine, settings_of(home)).tombstones.is_any()
    engine.dispose()


def test_what_happens_later_is_a_new_customers_history(filled: Home, tmp_path: Path) -> None:
    home, chosen = filled, settings_of(filled)
    do(home, chosen)
    at = (LATER + timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M:%S")
    made = rows([(WEB_ID, None)])
    mapping = source(tmp_path, "web", [*made, made[0] | {"id": "new", "at": at}])
    report = import_source(home, chosen, mapping, now=LATER + timedelta(days=1))
    assert (report.stored, report.erased) == (1, 3)
    assert Lake(home.lake).read(customers=[WEB_ID])["event_id"].to_list() == ["new"]
    engine = open_engine(None, home)
    resolver = open_resolver(home, engine, settings_of(home))
    posted = frame(
        [event(n, customer_id=f"pos:{POS_ID}", event_time=LATER + timedelta(hours=n)) for n in (0, 1)]
    )
    assert resolver.erased(posted).to_list() == [True, False]
    assert resolver.resolution().members(WEB_ID) == (WEB_ID,)
    engine.dispose()


def test_an_event_stamped_ahead_of_the_erasure_is_covered_too(
    home: Home, chosen: Settings, tmp_path: Path
) -> None:
    ahead = LATER + timedelta(minutes=3)
    made = rows([(WEB_ID, None)])
    mapping = source(
        tmp_path, "web", [*made, made[0] | {"id": "ahead", "at": ahead.strftime("%Y-%m-%d %H:%M:%S")}]
    )
    assert import_source(home, chosen, mapping, now=LATER).stored == 4
    assert do(home, chosen).erased_at == ahead.isoformat()
    assert import_source(home, chosen, mapping, now=LATER).erased == 4


def test_an_erasure_that_was_cut_short_is_completed_under_all_ids(filled: Home, tmp_path: Path) -> None:
    home, chosen = filled, settings_of(filled)
    part = next(home.lake.rglob("*.parquet"))
    whole = part.read_bytes()
    part.write_bytes(b"damaged")
    with pytest.raises(Exception, match="cannot be read"):
        do(home, chosen)
    engine = open_engine(None, home)
    resolver = open_resolver(home, engine, settings_of(home))
    assert set(resolver.tombstones.until(resolver.resolution().members(WEB_ID))) == {
        WEB_ID,
        f"pos:{POS_ID}",
        f"unionid:{UNIONID}",
    }
    engine.dispose()
    part.write_bytes(whole)
    assert do(home, chosen).ids == 3
    assert found(home, chosen) == []


def test_what_was_parked_for_an_undo_goes_too(filled: Home, tmp_path: Path) -> None:
    home, chosen = filled, settings_of(filled)
    change_links(home, chosen, lambda _, log: log.link(WEB_ID, "bob-2", why="", at=NOW))
    assert any("identity_parked" in name for name in found(home, chosen))
    receipt = do(home, chosen)
    assert (receipt.ids, receipt.rows["identities"] > 3) == (4, True)
    assert found(home, chosen, [*IDS, "bob-2"]) == []


def test_a_short_id_of_figures_takes_nobody_elses_rows_along(home: Home, tmp_path: Path) -> None:
    made = rows([("1", None), ("2", None)])
    made += [row | {"id": f"bad-{row['id']}", "kind": "1"} for row in made]
    bring_in(home, source(tmp_path, "web", made))
    receipt = do(home, settings_of(home), "1")
    assert (receipt.rows["lake"], receipt.rows["quarantine"]) == (3, 3)
    left = Quarantine(home.quarantine).read()
    assert set(left["customer_id"]) == {"2"}
    assert set(Lake(home.lake).read()["customer_id"]) == {"2"}
    again = bring_in(home, source(tmp_path, "web", made), NOW + timedelta(days=1))
    assert (again.erased, again.quarantined, again.quarantined_new) == (6, 3, 0)


def test_while_it_runs_nobody_reads_customers_in_bulk(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows([(WEB_ID, None)])))
    waits, done = threading.Event(), threading.Event()

    def run() -> None:
        erase(home, settings_of(home), WEB_ID, now=LATER, on_wait=waits.set)
        done.set()

    with SharedLock(home.jobs_lock).together():
        thread = threading.Thread(target=run)
        thread.start()
        assert waits.wait(10)
        assert not done.is_set()
    thread.join(30)
    assert done.is_set()


def run(home: Path, *arguments: str, environ: dict[str, str] | None = None) -> int:
    return cli.main(["--home", str(home), *arguments], dict(environ or {}))


def test_the_command_prints_a_receipt_that_names_nobody(
    filled: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home = filled
    assert run(home.root, "erase", WEB_ID, "--yes") == 0
    shown = capsys.readouterr()
    assert "posted events" in shown.out
    assert not any(one in shown.out + shown.err for one in IDS)
    assert run(home.root, "erase", WEB_ID, "--yes", "--json") == 0
    receipt = json.loads(capsys.readouterr().out)
    assert set(receipt) == {"erasure_id", "erased_at", "ids", "rows"}
    assert places_naming(home.root, IDS) == []


def test_the_command_asks_first_and_says_so_where_nobody_can_answer(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring_in(home, source(tmp_path, "web", rows([(WEB_ID, None)])))
    assert run(home.root, "erase", WEB_ID) == 2
    assert "next step: add --yes" in capsys.readouterr().err
    assert Lake(home.lake).row_count() == 3


def test_the_command_names_no_id_when_nobody_is_known(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring_in(home, source(tmp_path, "web", rows([(WEB_ID, None)])))
    assert run(home.root, "erase", "web-Zq7x-140", "--yes") == 2
    shown = capsys.readouterr()
    assert "nothing is known of such a customer" in shown.err
    assert "Zq7x" not in shown.err + shown.out
    assert "did you mean" not in shown.err


def test_with_a_key_of_the_environment_no_key_lies_in_the_home(home: Home, tmp_path: Path) -> None:
    bring_in(home, source(tmp_path, "web", rows([(WEB_ID, None)])))
    environ = {"TAGTIDE_ERASURE_KEY": "a key of sixteen bytes or more"}
    assert run(home.root, "erase", WEB_ID, "--yes", environ=environ) == 0
    assert not home.erasure_key.exists()
    mapping = source(tmp_path, "web", rows([(WEB_ID, None)]))
    with pytest.raises(Exception, match="that are not there"):
        bring_in(home, mapping)
    keyed = load_settings(home.root, environ).settings
    assert import_source(home, keyed, mapping, now=NOW).erased == 3
    engine = open_engine(None, home)
    assert isinstance(open_resolver(home, engine, keyed).tombstones, Tombstones)
    engine.dispose()
