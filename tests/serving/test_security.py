from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from configs.errors import ConfigError
from serving.errors import Forbidden, ServingError, TokenError, Unauthorized
from serving.security import LOOK_EVERY_SECONDS, BearerAuth, Caller, check_host
from serving.tokens import TokenFile

TOKEN = "0123456789abcdef"


def headers(*values):
    return [(b"authorization", value) for value in values]


def carrying(secret):
    return headers(f"Bearer {secret}".encode())


class Moment:
    """A clock and a count of seconds that stand still until they are moved."""

    def __init__(self):
        self.at = datetime(2024, 6, 1, 12, tzinfo=UTC)
        self.seconds = 0.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.seconds

    def pass_by(self, seconds):
        self.seconds += seconds
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def moment():
    return Moment()


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


def opened(file, moment, api_token=None):
    return BearerAuth(api_token, file, now=moment.now, monotonic=moment.monotonic)


def test_each_of_several_tokens_of_the_environment_is_good_for_everything():
    auth = BearerAuth(SecretStr(f"{TOKEN}, another-token-16-long"))
    assert auth.check(carrying(TOKEN)) == Caller("environment", "admin")
    assert auth.check(headers(b"bearer another-token-16-long")) == Caller("environment", "admin")


def test_a_token_of_the_home_is_known_by_name_and_scope(file, moment):
    scrm, analyst = file.add("scrm", "write", now=moment.at), file.add("analyst", "read", now=moment.at)
    auth = opened(file, moment, SecretStr(TOKEN))
    assert auth.check(carrying(scrm)) == Caller("scrm", "write")
    assert auth.check(carrying(analyst)) == Caller("analyst", "read")
    assert auth.check(carrying(TOKEN)) == Caller("environment", "admin")


def test_tokens_of_the_home_suffice(file, moment):
    file.add("scrm", "write", now=moment.at, expires_at=moment.at + timedelta(seconds=1))
    opened(file, moment)
    moment.pass_by(1)
    with pytest.raises(ConfigError, match="no bearer token is set"):
        opened(file, moment)


def test_a_change_is_in_force_within_a_second_and_the_file_looked_at_no_oftener(file, moment):
    scrm = file.add("scrm", "write", now=moment.at)
    auth = opened(file, moment)
    late = file.add("late", "read", now=moment.at)
    file.revoke("scrm", now=moment.at)
    moment.pass_by(LOOK_EVERY_SECONDS * 0.9)
    assert auth.check(carrying(scrm)).name == "scrm"
    with pytest.raises(Unauthorized):
        auth.check(carrying(late))
    moment.pass_by(LOOK_EVERY_SECONDS * 0.2)
    assert auth.check(carrying(late)).name == "late"
    with pytest.raises(Unauthorized):
        auth.check(carrying(scrm))


def test_a_token_that_expires_or_is_rotated_out_opens_nothing_from_that_instant(file, moment):
    scrm = file.add("scrm", "write", now=moment.at)
    auth = opened(file, moment)
    file.rotate("scrm", now=moment.at, grace=timedelta(seconds=10))
    moment.pass_by(9.9)
    assert auth.check(carrying(scrm)).name == "scrm"
    moment.pass_by(0.2)
    with pytest.raises(Unauthorized):
        auth.check(carrying(scrm))


def test_a_file_that_is_gone_opens_nothing_and_a_damaged_one_changes_nothing(file, moment, tmp_path):
    scrm = file.add("scrm", "write", now=moment.at)
    auth = opened(file, moment, SecretStr(TOKEN))
    path = tmp_path / "tokens.json"
    path.write_text("{")
    moment.pass_by(2)
    assert auth.check(carrying(scrm)).name == "scrm"
    assert "cannot be read" in auth.problem
    path.unlink()
    moment.pass_by(2)
    with pytest.raises(Unauthorized):
        auth.check(carrying(scrm))
    assert auth.check(carrying(TOKEN)).scope == "admin"
    assert auth.problem == ""


def test_a_service_does_not_start_with_a_damaged_file(file, moment, tmp_path):
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(TokenError, match="damaged"):
        opened(file, moment, SecretStr(TOKEN))


def test_what_a_token_is_not_good_for_names_the_scope_that_is_needed():
    Caller("scrm", "write").require("read")
    with pytest.raises(Forbidden) as refused:
        Caller("scrm", "write").require("admin")
    assert "`admin`" in refused.value.message


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b"Bearer wrong"],
        [b"Bearer "],
        [b"Bearer"],
        [TOKEN.encode()],
        [f"Basic {TOKEN}".encode()],
        [f"Bearer {TOKEN}x".encode()],
        [f"Bearer {TOKEN}".encode()] * 2,
        [b"Bearer \xff\xfe"],
    ],
)
def test_anything_else_does_not(values):
    with pytest.raises(Unauthorized):
        BearerAuth(SecretStr(TOKEN)).check(headers(*values))


@pytest.mark.parametrize(
    "token", [None, SecretStr(""), SecretStr(" , "), SecretStr("short"), SecretStr("ü" * 20)]
)
def test_a_missing_or_guessable_token_is_refused_with_how_to_make_one(token):
    with pytest.raises(ConfigError) as refused:
        BearerAuth(token)
    assert "token_urlsafe" in refused.value.next_step
    assert "short" not in refused.value.message


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1")]
)
def test_loopback_needs_no_acknowledgement(host, address):
    assert check_host(host, may_be_reached=False) == address


@pytest.mark.parametrize("host", ["192.0.2.7", "::", "10.0.0.1"])
def test_an_address_others_can_reach_needs_one(host):
    with pytest.raises(ServingError, match="other machines"):
        check_host(host, may_be_reached=False)
    assert check_host(host, may_be_reached=True) == host


def test_a_name_is_no_address():
    with pytest.raises(ServingError, match=r"example\.org"):
        check_host("example.org", may_be_reached=True)
