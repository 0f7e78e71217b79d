"""The main job by its commands: from a mapping file to tags that the service gives out."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from configs.home import open_home
from features import affinity, customer
from features.packed_store import CUSTOMER_MEMORY, CUSTOMER_PROFILE, LIFE_US, open_packed_store
from features.store import apply, online_values
from features.windows import from_us, to_us
from pipelines.replay import replay
from pipelines.service_process import ServiceProcess, free_port, new_token
from serving.upkeep import BOUNDARY_MARK
from tests.small_shop import KNOWN_UNTIL, clean_environ, tagtide

TASKS = ["clv", "propensity", "segments", "tags-high_intent", "tags-interest"]


@pytest.fixture(scope="module")
def worked_with(small_shop, tmp_path_factory):
    """A copy of the home that commands may change."""
    return small_shop.copy(tmp_path_factory.mktemp("worked_with"))


def test_an_import_takes_what_was_known_by_then(small_shop):
    report = small_shop.runs["import"].json
    known = small_shop.events.filter(pl.col("event_time") <= KNOWN_UNTIL).height
    assert (report["rows_read"], report["stored"]) == (small_shop.events.height, known)
    assert report["later"] == small_shop.events.height - known
    assert (report["quarantined"], report["duplicate"], report["history"]) == (0, 0, True)
    assert report["efficiency"] == pytest.approx(report["records_per_minute"])


def test_features_are_counted_by_view(small_shop):
    report = small_shop.runs["features"].json
    events, as_of = small_shop.known, small_shop.as_of
    boundary = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    remembered = events.filter(pl.col("ingested_at") > as_of - timedelta(hours=72))
    assert report["as_of"] == as_of.isoformat()
    assert report["online"] == {
        "customer_memory": remembered["customer_id"].n_unique(),
        "customer_profile": events.filter(pl.col("ingested_at") <= boundary)["customer_id"].n_unique(),
        "key_profile": events["category"].drop_nulls().n_unique(),
    }
    assert set(report["snapshots"]) == {"customer_snapshot", "category_snapshot"}
    assert report["snapshots"]["category_snapshot"] > report["snapshots"]["customer_snapshot"] > 10_000


def test_every_model_the_data_carries_is_trained_and_beside_its_baselines(small_shop):
    models = {model["task"]: model for model in small_shop.runs["train"].json["models"]}
    assert sorted(models) == [
        "clv",
        "propensity",
        "segments",
        "tags-brand_preference",
        "tags-high_intent",
        "tags-interest",
    ]
    assert models["tags-brand_preference"]["skipped"] == "the data has no events with a brand"
    interest = models["tags-interest"]["metrics"]
    assert interest["precision_observed"] >= 0.8 > interest["rule_precision_observed"]
    assert interest["certified_tags"] >= 4
    assert set(models["propensity"]["metrics"]) == {"72h", "7d"}
    assert models["propensity"]["metrics"]["72h"]["auc"] > 0.8
    assert "baseline_bgnbd_gg" in models["clv"]["metrics"]
    grouped = models["segments"]["metrics"]
    assert grouped["explained_share"] > grouped["baseline_rfm"]["explained_share"]
    assert all(
        model["model_version"] == f"{task}/1" for task, model in models.items() if not model["skipped"]
    )


def test_all_but_what_the_gate_refuses_is_promoted(small_shop):
    first = {model["task"]: model for model in small_shop.runs["promote"].json["models"]}
    assert sorted(first) == TASKS
    for task, model in first.items():
        assert bool(model["refused"]) != (model["champion"] == f"{task}/1")
    forced = small_shop.runs["promote by force"].json["models"]
    assert [model["champion"] for model in forced] == [f"{task}/1" for task in TASKS]


def test_json_on_standard_output_is_alone_there(small_shop):
    for name, run in small_shop.runs.items():
        assert run.out.startswith("{"), name
        assert run.out.rstrip().endswith("}"), name
        assert "Traceback" not in run.err


def test_repeating_the_steps_changes_nothing(worked_with):
    again = worked_with.run(
        "import", str(worked_with.mapping), "--until", KNOWN_UNTIL.isoformat(), "--json"
    ).json
    before = worked_with.known.height
    assert (again["stored"], again["duplicate"]) == (0, before)
    online = {}
    for view in (CUSTOMER_MEMORY, CUSTOMER_PROFILE):
        online[view] = stored(worked_with, view)
    first = worked_with.run("features", "--json").json
    assert worked_with.run("features", "--json").json == first
    assert {view: stored(worked_with, view) for view in online} == online
    for _ in range(2):
        models = worked_with.run("promote", "--json").json["models"]
        assert [(model["champion"], model["previous"]) for model in models] == [
            (f"{t}/1", f"{t}/1") for t in TASKS
        ]


def stored(shop, view):
    store = open_packed_store(shop.home, shop.settings)
    rows = store.get_many(view, list(store.keys(view)), now_us=0, ttl_us=None)
    store.close()
    return rows


def test_a_second_model_is_promoted_and_rolled_back(worked_with):
    # Trained on the same it would be the same bundle, which is registered already.
    earlier = (worked_with.as_of - timedelta(days=1)).isoformat()
    trained = worked_with.run("train", "propensity", "--as-of", earlier, "--json").json["models"]
    assert [model["model_version"] for model in trained] == ["propensity/2"]
    promoted = worked_with.run("promote", "propensity", "--json").json["models"]
    assert [(one["champion"], one["previous"]) for one in promoted] == [("propensity/2", "propensity/1")]
    shown = worked_with.run("rollback", "propensity")
    assert "propensity/1" in shown.out
    assert "propensity/2" in shown.out
    further = worked_with.run("rollback", "propensity")
    assert (further.code, further.out) == (2, "")
    assert further.err.startswith("error: propensity has no champion before propensity/1\n")


def test_what_is_monitored_before_any_tag_was_given_has_all_four_numbers(worked_with):
    found = worked_with.run("monitor", "--no-evidently", "--json")
    assert found.code == 0, found.err
    assert [number["name"] for number in found.json["numbers"]] == [
        "Tag precision",
        "Trigger latency",
        "Propensity lift",
        "CLV error",
    ]
    assert found.json["judged"]["judged"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["features"], "has no events"),
        (["train"], "has no events"),
        (["score"], "has no events"),
        (["backtest", "tags"], "has no events"),
        (["monitor"], "holds no events"),
        (["promote"], "has no trained model"),
        (["rollback", "all"], "has no trained model"),
        (["serve"], "no model is published"),
        (["train", "--as-of", "yesterday"], "--as-of is 'yesterday'; expected an ISO 8601 date"),
        (["train", "propensty"], "did you mean 'propensity'?"),
        (["backtest", "tag"], "did you mean 'tags'?"),
    ],
)
def test_a_step_that_is_missing_is_named_in_one_line(tmp_path, arguments, message):
    open_home(tmp_path / "new", create=True)
    run = tagtide(tmp_path / "new", *arguments, environ={"TAGTIDE_API_TOKEN": "x" * 32})
    error, next_step = run.err.splitlines()[-2:] if "next step" in run.err else (run.err.splitlines()[-1], "")
    assert run.code == 2
    assert error.startswith("error: ")
    assert message in error
    assert next_step.startswith("next step: ") or "did you mean" in error
    assert "Traceback" not in run.err
    assert run.out == ""


@pytest.mark.parametrize("command", ["features", "train", "promote", "score", "monitor"])
def test_a_home_that_is_not_there_is_named(tmp_path, command):
    run = tagtide(tmp_path / "nowhere", command)
    assert (run.code, run.out) == (2, "")
    assert "nowhere" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "tags", "--families", "intrest"],
            "unknown tag family 'intrest' (did you mean 'interest'?)",
        ),
        (["backtest", "tags", "--families", "hi_intent"], "(did you mean 'high_intent'?)"),
        (["promote", "propensitty"], "(did you mean 'propensity'?)"),
        (["rollback", "tags-intrest"], "(did you mean 'tags-interest'?)"),
        (["features", "--as-of", "2023-05-01"], "nothing is known by 2023-05-01"),
        (["train", "tags", "--as-of", "2024-02-01"], "expected an instant not before 2024-03-2"),
        (
            ["backtest", "tags", "--as-of", "2024-06-30"],
            "no outcome window of 72 h closes before the data ends",
        ),
        (["backtest", "propensity", "--as-of", "2024-06-30"], "no outcome window of 72 h closes"),
        (["backtest", "clv", "--as-of", "2024-05-01"], "90 days reach past the data's end"),
        (["backtest", "clv", "--as-of", "2024-02-01"], "CLV needs at least 60 days of history"),
        (["score", "--as-of", "2024-05-01"], "lies before the profiles'"),
    ],
)
def test_what_the_data_cannot_answer_is_said_in_one_line(worked_with, arguments, message):
    run = worked_with.run(*arguments)
    assert (run.code, run.out) == (2, "")
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in run.err


def test_without_features_there_is_nothing_to_score(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    shop.home.online_store.unlink()
    run = shop.run("score")
    assert run.code == 2
    assert "has no profiles" in run.err
    assert "next step: run `tagtide features` first" in run.err


def test_posted_events_change_the_next_answer_and_earn_tags(small_shop, tmp_path):
    shop = small_shop.copy(tmp_path)
    day = shop.later.filter(pl.col("event_time") <= KNOWN_UNTIL + timedelta(hours=20))
    buyers = day.filter(pl.col("event_type") == "purchase")["customer_id"].unique().sort().to_list()
    service = ServiceProcess(shop.home, clean_environ(), port=free_port(), token=new_token(), clock="replay")
    with service, service.client() as client:

        def ask(name):
            reply = client.get(f"/v1/customers/{name}").raise_for_status().json()
            return reply["customer"], reply

        before = {name: ask(name)[0] for name in buyers}
        _, whole = ask(buyers[0])
        assert set(whole["model_version"].values()) == {f"{task}/1" for task in TASKS}
        assert whole["as_of"].startswith("2024-05-31T23:17:14")
        assert all(one["status"] == "ok" and one["tags"] == [] for one in before.values())
        report = replay(client, day, settings=shop.settings)
        seen = day["customer_id"].unique().sort().to_list()
        after = {name: ask(name)[0] for name in seen}
        assert (report.accepted, report.refused) == (day.height, 0)
        assert report.tags_seen > 0
        batch = client.post("/v1/predictions:batchGet", json={"customer_ids": [*buyers, "nobody"]}).json()
        again = replay(client, day.head(3), settings=shop.settings)
    assert len(buyers) > 10
    changed = [name for name in buyers if before[name]["propensity"] != after[name]["propensity"]]
    assert len(changed) > 0.9 * len(buyers)
    tagged = [name for name in seen if after[name]["tags"]]
    assert tagged
    for name in tagged:
        for tag in after[name]["tags"]:
            assert tag["precision"] >= 0.75
            check_reasons(tag["reasons"], tag["explanation"])
            assert tag["model_version"] == f"tags-{tag['family']}/1"
        for why in after[name]["explanations"]["propensity"].values():
            check_reasons(why["reasons"], why)
    rows = {row["customer_id"]: row for row in batch["customers"]}
    assert rows["nobody"]["status"] == "cold_start"
    assert {name: rows[name]["propensity"] for name in buyers} == {
        name: after[name]["propensity"] for name in buyers
    }
    assert (again.accepted, again.duplicates) == (0, 3)
    check_feast_reads_what_the_service_wrote(shop, buyers)


def check_reasons(reasons, why):
    assert 1 <= len(reasons) <= 3
    assert all(
        reason["words"] and reason["direction"] in ("speaks for", "speaks against") for reason in reasons
    )
    total = why["base"] + sum(reason["contribution"] for reason in reasons) + why["rest"]
    assert total == pytest.approx(why["score"], rel=1e-9, abs=1e-9)
    assert why["words"].startswith("Speaks ")


def check_feast_reads_what_the_service_wrote(shop, names):
    apply(shop.home, shop.settings, customer.catalogue(), affinity.catalogue())
    store = open_packed_store(shop.home, shop.settings)
    boundary = store.mark(BOUNDARY_MARK)
    now_us = to_us(KNOWN_UNTIL + timedelta(hours=20))
    assert from_us(boundary) == KNOWN_UNTIL
    for view in (CUSTOMER_MEMORY, CUSTOMER_PROFILE):
        rows = store.get_many(view, names, now_us=now_us, ttl_us=LIFE_US)
        keys = [{"customer_id": name} for name in [*names, "nobody"]]
        through_feast = online_values(shop.home, shop.settings, view, keys, now=from_us(now_us))
        assert through_feast == [*(rows[name].value for name in names), None]
    store.close()
