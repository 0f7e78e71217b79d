import pytest

from tests.serving.parts import Parts, event
from tests.serving.test_api import ask, assert_error_form, get, post

ODD = "牛奶/乳制品 与 a+b&c?d#e%2F"
ENCODED = "interest%3A%E7%89%9B%E5%A5%B6%2F%E4%B9%B3%E5%88%B6%E5%93%81%20%E4%B8%8E%20a%2Bb%26c%3Fd%23e%252F"


@pytest.fixture
def parts(home):
    made = Parts(home)
    yield made
    made.close()


def ids(reply):
    assert reply.status_code == 200, reply.text
    return [one["customer_id"] for one in reply.json()["customers"]]


def test_who_carries_a_tag_now_is_told_by_id_and_by_name(parts):
    events = [event(1, "商/店 1", category=ODD), event(2, "c2", category=ODD), event(3, "c3")]
    _, tags, by_id, milk = ask(
        parts,
        post(*events),
        get("/v1/tags"),
        get(f"/v1/tags/{ENCODED}/customers"),
        get("/v1/tags/interest:MILK/customers"),
    )
    assert ids(by_id) == ["c2", "商/店 1"]
    assert ids(milk) == ["c3"]
    body = by_id.json()
    assert (body["tag_id"], body["next_cursor"]) == (f"interest:{ODD}", None)
    (row,) = [one for one in tags.json()["tags"] if one["tag_id"] == body["tag_id"]]
    assert (row["name"], row["carriers"], row["status"]) == (body["name"], 2, "retired")
    assert body["customers"][0] == {
        "customer_id": "c2",
        "probability": 0.6,
        "probability_if_observed": 0.9,
        "assigned_at": "2017-11-01T00:00:00Z",
        "renewed_at": None,
        "expires_at": "2017-11-04T00:00:00Z",
    }


def test_a_long_tag_is_found_by_its_short_name(parts):
    category = "A CATEGORY WITH A VERY LONG NAME / AND MORE"
    _, one = ask(parts, post(event(category=category)), get("/v1/customers/c1"))
    (tag,) = one.json()["customer"]["tags"]
    assert len(tag["name"]) <= 30
    (carriers,) = ask(
        parts, lambda client: client.get(f"/v1/tags/{tag['name'].replace('/', '%2F')}/customers")
    )
    assert ids(carriers) == ["c1"]


def test_pages_hold_everybody_once_and_the_cursor_outlives_writes(parts):
    first = [event(n, f"c{n}") for n in range(5)]

    async def run(client):
        await post(*first)(client)
        page = await client.get("/v1/tags/interest:MILK/customers?limit=2")
        seen = ids(page)
        await post(event(10, "a"), event(11, "c9"))(client)
        while (cursor := page.json()["next_cursor"]) is not None:
            page = await client.get("/v1/tags/interest:MILK/customers", params={"limit": 2, "cursor": cursor})
            seen += ids(page)
        return seen

    assert ask(parts, run) == [["c0", "c1", "c2", "c3", "c4", "c9"]]


def test_a_tag_that_has_expired_is_carried_by_nobody_though_no_sweep_has_been(parts):
    _, before, _, after, tags = ask(
        parts,
        post(event(1, "c1")),
        get("/v1/tags/interest:MILK/customers"),
        post(event(2, "c2", at=72 * 3600, category="TEA")),
        get("/v1/tags/interest:MILK/customers"),
        get("/v1/tags"),
    )
    assert (ids(before), ids(after)) == (["c1"], [])
    counts = {one["tag_id"]: one["carriers"] for one in tags.json()["tags"]}
    assert counts["interest:MILK"] == 0


def test_the_list_says_which_contract_holds_and_why_not(parts):
    (reply,) = ask(parts, get("/v1/tags"))
    milk, unproven = reply.json()["tags"]
    assert (milk["status"], milk["reason"], milk["family"], milk["key"]) == (
        "certified",
        "",
        "interest",
        "MILK",
    )
    assert (unproven["status"], unproven["reason"]) == ("suspended", "lift 1.20; expected 2.0")
    assert reply.json()["model_version"] == {"tags-interest": "1"}


def test_a_tag_nobody_knows_is_not_found(parts):
    (reply,) = ask(parts, get("/v1/tags/nonsense/customers"))
    assert assert_error_form(reply, 404, "not_found")["details"][0]["field"] == "tag_id"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=٣", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=WyJpbnRlcmVzdDpURUEiLCIiXQ", "cursor"),
    ],
)
def test_a_page_that_cannot_be_is_refused_by_name(parts, query, field):
    (reply,) = ask(parts, get(f"/v1/tags/interest:MILK/customers?{query}"))
    assert assert_error_form(reply, 422, "invalid_request")["details"][0]["field"] == field


def test_tags_can_be_listed_before_there_is_a_model(home):
    parts = Parts(home, with_model=False)
    (reply,) = ask(parts, get("/v1/tags"))
    assert reply.json()["tags"] == []
    assert reply.json()["as_of"] == "2017-11-01T00:00:00Z"
    parts.close()
