import pytest
from pydantic import SecretStr

from configs.errors import ConfigError
from serving.errors import ServingError, Unauthorized
from serving.security import BearerAuth, check_host

TOKEN = "0123456789abcdef"


def headers(*values):
    return [(b"authorization", value) for value in values]


def test_each_of_several_tokens_opens():
    auth = BearerAuth(SecretStr(f"{TOKEN}, another-token-16-long"))
    auth.check(headers(f"Bearer {TOKEN}".encode()))
    auth.check(headers(b"bearer another-token-16-long"))


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
