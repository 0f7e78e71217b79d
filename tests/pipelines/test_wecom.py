"""`tagtide wecom push` between a real service and a platform over real HTTP."""

from __future__ import annotations

import pytest

from serving.wecom_state import WecomState
from tests.serving.parts import TOKEN, event
from tests.serving.processes import running
from tests.serving.wecom_server import CORP_ID, SECRET, wecom_server
from tests.small_shop import tagtide

ENVIRON = {
    "TAGTIDE_API_TOKEN": f"{TOKEN},another-token-of-the-service",
    "TAGTIDE_WECOM_CORP_ID": CORP_ID,
    "TAGTIDE_WECOM_SECRET": SECRET,
}
LONG = "A CATEGORY WITH A NAME OF FAR TOO MANY CHARACTERS"


def contact(number):
    return f"wecom_contact:lisi/wo{number}"


def test_tags_of_a_running_service_appear_at_the_platform_and_go_when_they_expire(home):
    with running(home) as service, wecom_server() as (wecom, address):

        def push(*options):
            urls = ("--service", service.url, "--base-url", address)
            return tagtide(home.root, "wecom", "push", *urls, *options, "--json", environ=ENVIRON)

        def post(*events):
            assert service.client.post("/v1/events?return=tags", json={"events": events}).is_success

        post(*(event(n, contact(n), category=LONG if n % 2 else "牛奶/乳制品") for n in range(6)))
        post(event(99, "stranger"))
        looked = push("--dry-run").json
        assert (looked["marked"], looked["is_dry_run"], wecom.calls) == (6, True, {})
        pushed = push("--once").json
        assert (pushed["marked"], pushed["added"], pushed["tags_made"]) == (6, 6, 2)
        assert pushed["skipped"] == {"no_external_userid": 1}
        assert pushed["calls"]["mark_tag"] == 6
        assert wecom.shown["lisi", "wo0"] == {"interest:牛奶/乳制品"}
        assert all(len(name) <= 30 for _, name in wecom.tags)
        assert push("--once").json["marked"] == 0
        assert push("--dry-run", "--from-start").json["marked"] == 6
        post(event(100, "stranger", at=72 * 3600))
        assert push("--once").json["removed"] == 6
        assert set().union(*wecom.shown.values()) == set()
        kept = WecomState(home)
        assert kept.cursor()
        assert len(kept.tag_ids()) == 2


@pytest.mark.parametrize("missing", sorted(ENVIRON))
def test_what_is_missing_is_named_with_the_next_step(home, missing):
    environ = {name: value for name, value in ENVIRON.items() if name != missing}
    run = tagtide(home.root, "wecom", "push", "--once", environ=environ)
    assert run.code == 2
    assert f"error: {missing} is not set" in run.err
    assert "next step: set it to" in run.err


def test_a_service_that_is_not_there_is_told_in_a_line(home):
    with wecom_server() as (_, address):
        options = ("--once", "--service", "http://127.0.0.1:9", "--base-url", address)
        run = tagtide(home.root, "wecom", "push", *options, environ=ENVIRON)
    assert run.code == 2
    assert "could not be asked" in run.err
    assert SECRET not in run.err


def test_a_secret_in_a_file_is_refused(home):
    (home.root / "tagtide.yaml").write_text("wecom_secret: x\n")
    assert "may not stand in a file" in tagtide(home.root, "wecom", "push").err


def test_the_group_shows_its_help(home):
    assert "push" in tagtide(home.root, "wecom").out
