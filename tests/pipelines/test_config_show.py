import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from configs.settings import ENVIRONMENT_ONLY, Settings, load_settings
from pipelines import cli, config_show


def shown_json(home: Path, environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert cli.main(["--home", str(home), "config", "show", "--json"], environ) == 0
    return json.loads(capsys.readouterr().out)


def test_every_setting_is_shown_with_value_origin_variable_and_meaning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "tagtide.yaml").write_text("threads: 1\n")
    shown = shown_json(tmp_path, {"TAGTIDE_SERVE_PORT": "9000"}, capsys)
    assert set(shown["settings"]) == set(Settings.model_fields)
    assert shown["file"] == str(tmp_path / "tagtide.yaml")
    threads, port, token = (shown["settings"][name] for name in ("threads", "serve_port", "api_token"))
    assert (threads["value"], threads["origin"]) == (1, f"file {tmp_path / 'tagtide.yaml'}")
    assert (port["value"], port["origin"]) == (9000, "environment TAGTIDE_SERVE_PORT")
    assert (token["value"], token["variable"]) == (None, "TAGTIDE_API_TOKEN")
    assert all(setting["meaning"] for setting in shown["settings"].values())


def test_each_shown_variable_is_one_that_the_settings_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shown = shown_json(tmp_path, {}, capsys)
    for name, setting in shown["settings"].items():
        value = "hush" * 4 if name in ENVIRONMENT_ONLY else str(setting["value"])
        loaded = load_settings(tmp_path, {setting["variable"]: value})
        assert loaded.origins[name] == f"environment {setting['variable']}"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_secrets_are_masked(tmp_path: Path, form: list[str], capsys: pytest.CaptureFixture[str]):
    environ = {f"TAGTIDE_{name.upper()}": "hush-hush-hush-hush" for name in ENVIRONMENT_ONLY}
    assert cli.main(["--home", str(tmp_path), "config", "show", *form], environ) == 0
    shown = capsys.readouterr().out
    assert "hush" not in shown
    assert shown.count(config_show.MASK) == len(ENVIRONMENT_ONLY)


def test_the_table_has_one_row_a_setting(tmp_path: Path):
    table = config_show.as_table(load_settings(tmp_path, {}))
    assert table.row_count == len(Settings.model_fields)
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    assert "serve_port" in console.file.getvalue()


def test_looking_makes_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shown_json(tmp_path / "none", {}, capsys)
    assert not (tmp_path / "none").exists()
