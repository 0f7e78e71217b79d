"""Redis, the disk or the right to write go away: callers are told what is missing, and nothing is lost."""

import subprocess
import sys

import pytest

from configs.home import open_home
from tests.reliability.outages import (
    ballast,
    disk_full,
    limit_file_size,
    redis_stops_and_starts,
    small_disk,
)
from tests.reliability.service import ROOT
from tests.serving.parts import TOKEN

NOTHING_LOST = {"lost": 0, "doubled": 0, "claims_doubled": 0, "claims_and_tags_differ": 0, "exit_code": 0}


def stands(found):
    assert found["tried"] == found["survived"] > 0, found
    assert {name: found[name] for name in NOTHING_LOST} == NOTHING_LOST, found


def test_without_redis_callers_get_503_that_names_it_and_once_it_is_back_all_goes_on_without_a_restart(
    home, tmp_path
):
    found = redis_stops_and_starts(home, tmp_path, times=2)
    stands(found)
    assert {status for status, _, _ in found["refusals"]} == {503}
    assert all("the online store does not answer" in said for _, said, _ in found["refusals"])
    assert all(is_told_when for _, _, is_told_when in found["refusals"])
    assert found["longest_recovery_seconds"] < 10


def test_where_files_may_not_grow_posts_get_503_reads_go_on_and_afterwards_all_is_intact(home):
    stands_after_full_disk(disk_full(home, *limit_file_size(home)))


def test_on_a_disk_that_is_full_it_is_the_same(tmp_path):
    with small_disk(tmp_path / "disk") as folder:
        home = open_home(folder / "home", create=True)
        stands_after_full_disk(disk_full(home, *ballast(folder)))


def stands_after_full_disk(found):
    stands(found)
    status, said, is_told_when = found["refusal"]
    assert (status, is_told_when) == (503, True)
    assert "does not answer" in said
    assert found["reads_meanwhile"] == [200, 200]
    assert found["integrity"] == ["ok"]


def test_a_home_that_may_only_be_read_is_refused_with_what_to_do_and_left_as_it_was(home):
    command = [sys.executable, "-m", "pipelines.cli", "--home", str(home.root), "serve", "--without-models"]
    within = f'mount --bind {home.root} {home.root} && mount -o remount,bind,ro {home.root} && exec "$@"'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", within, "sh", *command, "--port", "18997"]
    if subprocess.run([*inside[:5], "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    before = sorted((path, path.stat().st_mtime_ns) for path in home.root.rglob("*"))
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TAGTIDE_API_TOKEN": TOKEN, "HOME": str(home.root)}
    ended = subprocess.run(inside, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=90)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "error:" in ended.stderr
    assert str(home.root) in ended.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in home.root.rglob("*")) == before
