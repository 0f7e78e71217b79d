from datetime import UTC, datetime, timedelta

import pytest

from serving.errors import TokenError
from serving.tokens import PREFIX, TokenFile, digest_of, includes

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return TokenFile(tmp_path / "tokens.json")


def valid(file, now=NOW):
    return [(one.name, one.digest) for one in file.read() if one.is_valid(now)]


def test_only_the_hash_of_a_token_is_kept_where_nobody_else_may_read_it(file, tmp_path):
    secret = file.add("scrm", "write", now=NOW)
    path = tmp_path / "tokens.json"
    assert secret.startswith(PREFIX)
    assert len(secret) >= len(PREFIX) + 43
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    (kept,) = file.read()
    assert (kept.name, kept.scope, kept.created_at, kept.expires_at) == ("scrm", "write", NOW, None)
    assert kept.digest == digest_of(secret.encode())


def test_no_two_tokens_are_alike(file):
    made = {file.add(f"t{number}", "read", now=NOW) for number in range(20)}
    assert len(made) == 20


def test_a_name_stands_for_one_token_until_that_ends(file):
    file.add("scrm", "read", now=NOW, expires_at=NOW + timedelta(hours=1))
    with pytest.raises(TokenError, match="already"):
        file.add("scrm", "read", now=NOW)
    again = file.add("scrm", "admin", now=NOW + timedelta(hours=1))
    assert valid(file, NOW + timedelta(hours=2)) == [("scrm", digest_of(again.encode()))]


def test_rotation_leaves_the_earlier_token_good_for_the_grace_period_and_no_longer(file):
    first = digest_of(file.add("scrm", "write", now=NOW).encode())
    file.add("other", "read", now=NOW)
    second = digest_of(file.rotate("scrm", now=NOW, grace=timedelta(hours=2)).encode())
    names = {digest for name, digest in valid(file, NOW + timedelta(hours=1)) if name == "scrm"}
    assert names == {first, second}
    names = {digest for name, digest in valid(file, NOW + timedelta(hours=2)) if name == "scrm"}
    assert names == {second}
    assert [one.scope for one in file.read() if one.name == "scrm"] == ["write", "write"]


def test_a_grace_period_never_lengthens_a_life(file):
    file.add("scrm", "write", now=NOW, expires_at=NOW + timedelta(hours=1))
    file.rotate("scrm", now=NOW, grace=timedelta(days=9))
    assert min((one.expires_at for one in file.read()), key=str) == NOW + timedelta(hours=1)


def test_revoking_a_name_ends_all_its_tokens(file):
    file.add("scrm", "write", now=NOW)
    file.rotate("scrm", now=NOW, grace=timedelta(hours=2))
    file.add("other", "read", now=NOW)
    assert file.revoke("scrm", now=NOW) == 2
    assert [name for name, _ in valid(file)] == ["other"]
    with pytest.raises(TokenError, match="no valid token is named 'othr'"):
        file.revoke("othr", now=NOW)


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "cli", "environment", "service", "é"])
def test_a_name_that_is_none_or_means_somebody_else_is_refused(file, name):
    with pytest.raises(TokenError, match="token name"):
        file.add(name, "read", now=NOW)


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"tokens": [{}]}', '{"tokens": [1]}', '{"tokens": [{"name": "a", "scope": "root"}]}', "\x00"],
)
def test_a_damaged_file_is_said_to_be_damaged_and_kept(file, tmp_path, content):
    path = tmp_path / "tokens.json"
    path.write_text(content)
    path.chmod(0o600)
    for act in (file.read, lambda: file.add("a", "read", now=NOW)):
        with pytest.raises(TokenError, match="damaged"):
            act()
    assert path.read_text() == content


def test_a_file_that_others_may_write_is_not_believed(file, tmp_path):
    file.add("scrm", "write", now=NOW)
    (tmp_path / "tokens.json").chmod(0o622)
    with pytest.raises(TokenError, match="written by others"):
        file.read()


def test_the_version_changes_with_every_change(file):
    versions = [file.version()]
    file.add("a", "read", now=NOW)
    versions.append(file.version())
    file.rotate("a", now=NOW, grace=timedelta(0))
    versions.append(file.version())
    assert len(set(versions)) == 3


def test_a_scope_holds_whatever_a_lower_one_does():
    order = ["read", "write", "admin"]
    for place, scope in enumerate(order):
        assert [includes(scope, needed) for needed in order] == [n <= place for n in range(3)]
