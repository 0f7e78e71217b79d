from datetime import time, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.settings import ENVIRONMENT_ONLY, Settings, load_settings, read_yaml_mapping


def write(folder: Path, text: str) -> Path:
    path = folder / "tagtide.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_that_is_no_secret_has_a_shipped_default(tmp_path: Path):
    loaded = load_settings(tmp_path, {})
    assert set(loaded.origins.values()) == {"default"}
    unset = {name for name in Settings.model_fields if getattr(loaded.settings, name) is None}
    assert unset == ENVIRONMENT_ONLY


def test_every_setting_says_what_it_means():
    assert all(field.description for field in Settings.model_fields.values())


def test_environment_wins_over_file_and_file_over_default(tmp_path: Path):
    path = write(tmp_path, "threads: 3\nserve_port: 9001\n")
    loaded = load_settings(tmp_path, {"TAGTIDE_SERVE_PORT": "9002", "HOME": "/root"})
    assert (loaded.settings.threads, loaded.settings.serve_port) == (3, 9002)
    assert loaded.origins["threads"] == f"file {path}"
    assert loaded.origins["serve_port"] == "environment TAGTIDE_SERVE_PORT"
    assert loaded.origins["seed"] == "default"


def test_the_places_of_home_and_data_are_no_settings(tmp_path: Path):
    load_settings(tmp_path, {"TAGTIDE_HOME": "anywhere", "TAGTIDE_DATA": "anywhere"})


def test_an_unknown_variable_is_named_with_the_nearest_known_one(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"TAGTIDE_SERVE_PROT \(did you mean 'TAGTIDE_SERVE_PORT'\?\)"):
        load_settings(tmp_path, {"TAGTIDE_SERVE_PROT": "1"})


def test_an_unknown_name_in_the_file_is_named_with_file_and_nearest_known_one(tmp_path: Path):
    path = write(tmp_path, "thread: 3\n")
    with pytest.raises(ConfigError, match=r"unknown setting 'thread' \(did you mean 'threads'\?\)") as raised:
        load_settings(tmp_path, {})
    assert str(path) in raised.value.message


def test_a_secret_may_not_stand_in_the_file(tmp_path: Path):
    write(tmp_path, "api_token: opensesame\n")
    with pytest.raises(ConfigError, match="'api_token' is a secret") as raised:
        load_settings(tmp_path, {})
    assert "opensesame" not in raised.value.message
    assert "TAGTIDE_API_TOKEN" in raised.value.next_step


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAGTIDE_SERVE_PORT", "0"),
        ("TAGTIDE_SERVE_PORT", "65536"),
        ("TAGTIDE_SERVE_PORT", ""),
        ("TAGTIDE_THREADS", "two"),
        ("TAGTIDE_PUBLICATION_LAG_MINUTES", "1441"),
        ("TAGTIDE_CLOCK", "sundial"),
        ("TAGTIDE_TIME_ZONE", "Europe/Berlln"),
        ("TAGTIDE_ONLINE_STORE", "REDIS"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_variable(tmp_path: Path, variable: str, value: str):
    with pytest.raises(ConfigError) as raised:
        load_settings(tmp_path, {variable: value})
    assert variable in raised.value.message
    assert repr(value) in raised.value.message


def test_a_misspelt_time_zone_is_answered_with_the_nearest_one(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"did you mean 'Europe/Berlin'\?"):
        load_settings(tmp_path, {"TAGTIDE_TIME_ZONE": "Europe/Berlln"})


def test_secrets_are_masked_on_the_screen_and_in_every_rendering(tmp_path: Path):
    secrets = {f"TAGTIDE_{name.upper()}": f"hush-hush-hush-{name}" for name in ENVIRONMENT_ONLY}
    loaded = load_settings(tmp_path, secrets)
    assert loaded.settings.api_token is not None
    assert loaded.settings.api_token.get_secret_value() == "hush-hush-hush-api_token"
    for text in (str(loaded.shown()), repr(loaded), str(loaded.settings), loaded.settings.model_dump_json()):
        assert "hush" not in text
    shown = {name: (value, origin) for name, value, origin in loaded.shown()}
    assert shown["api_token"] == ("********", "environment TAGTIDE_API_TOKEN")
    assert shown["threads"] == ("2", "default")


def test_settings_are_frozen(tmp_path: Path):
    settings = load_settings(tmp_path, {}).settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.threads = 8


def test_durations_and_zone_follow_from_their_settings(tmp_path: Path):
    environ = {
        "TAGTIDE_TIME_ZONE": "Asia/Shanghai",
        "TAGTIDE_PUBLICATION_LAG_MINUTES": "90",
        "TAGTIDE_LATENESS_ALLOWANCE_HOURS": "6",
    }
    settings = load_settings(tmp_path, environ).settings
    assert settings.zone.key == "Asia/Shanghai"
    assert settings.publication_lag == timedelta(minutes=90)
    assert settings.lateness_allowance == timedelta(hours=6)


def test_an_empty_file_changes_nothing(tmp_path: Path):
    write(tmp_path, "# nothing yet\n")
    assert load_settings(tmp_path, {}).settings == load_settings(tmp_path / "none", {}).settings


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- threads\n", "expected a mapping, got list"),
        ("a: 1\nb: [\n", "line 3"),
        ("a: 1\n a: 2\n", "line 2"),
    ],
)
def test_a_malformed_file_is_named_with_its_fault(tmp_path: Path, text: str, complaint: str):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=complaint) as raised:
        read_yaml_mapping(path, "settings file")
    assert f"settings file {path}" in raised.value.message.replace(":", "")


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="not found"):
        read_yaml_mapping(tmp_path / "none.yaml", "mapping")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml_mapping(tmp_path, "mapping")
    (tmp_path / "latin.yaml").write_bytes("ä: 1".encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml_mapping(tmp_path / "latin.yaml", "mapping")


@pytest.mark.parametrize("written", ["21:00", "1260", "'9:00'", "'21:00:00'", "'24:00'"])
def test_a_time_of_day_that_yaml_or_we_could_misread_is_refused(tmp_path, written):
    (tmp_path / "tagtide.yaml").write_text(f"quiet_hours_from: {written}\n")
    with pytest.raises(ConfigError, match="quiet_hours_from"):
        load_settings(tmp_path, {})


def test_a_time_of_day_is_written_in_quotes(tmp_path):
    (tmp_path / "tagtide.yaml").write_text('quiet_hours_from: "22:30"\n')
    loaded = load_settings(tmp_path, {"TAGTIDE_QUIET_HOURS_UNTIL": "08:05"}).settings
    assert loaded.quiet_hours == (time(22, 30), time(8, 5))
