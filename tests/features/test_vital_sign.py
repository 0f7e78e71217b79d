import subprocess
import sys

import pytest

from features.errors import EventLogError
from features.vital_sign import VitalSign, clear_away, is_gone

LIVES = """
import sys
from pathlib import Path
from features.vital_sign import VitalSign
sign = VitalSign(Path(sys.argv[1]), "other")
print("up", flush=True)
sys.stdin.read()
"""


def test_a_process_that_was_killed_is_known_to_be_gone_and_one_that_lives_is_not(tmp_path):
    command = [sys.executable, "-c", LIVES, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    assert not is_gone(tmp_path, "other")
    process.kill()
    process.communicate()
    assert is_gone(tmp_path, "other")


def test_nothing_is_known_of_who_ended_in_order_or_never_was_here(tmp_path):
    sign = VitalSign(tmp_path / "processes", "me")
    assert not is_gone(tmp_path / "processes", "me")
    sign.end()
    sign.end()
    assert not is_gone(tmp_path / "processes", "me")
    assert not is_gone(tmp_path / "nowhere", "me")


def test_only_files_of_the_gone_are_cleared_away(tmp_path):
    sign = VitalSign(tmp_path, "me")
    (tmp_path / "gone").touch()
    clear_away(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["me"]
    sign.end()
    clear_away(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EventLogError, match="file"):
        VitalSign(tmp_path / "file", "me")
