import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from configs import telemetry
from configs.errors import TagtideError
from pipelines import cli

HEAVY = ("bentoml", "evidently", "feast", "lightgbm", "matplotlib", "mlflow", "pandas", "scipy", "sklearn")


def leaf_commands() -> list[str]:
    group = typer.main.get_command(cli.app)
    names = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        names += [f"{name} {leaf}" for leaf in inner] if inner else [name]
    return names


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]):
    assert cli.main([], {}) == 0
    assert "tagtide demo" in capsys.readouterr().out


def test_the_group_config_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["config"], {}) == 0
    assert "show" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["--version"], {}) == 0
    assert capsys.readouterr().out == "tagtide 0.1.0\n"


@pytest.mark.parametrize("name", leaf_commands())
def test_the_help_of_every_command_teaches_by_example(name: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main([*name.split(), "--help"], {}) == 0
    shown = capsys.readouterr().out
    examples = [line for line in shown.splitlines() if f"tagtide {name}" in line and "Usage" not in line]
    assert examples, f"{name} --help shows no example"


@pytest.mark.parametrize("name", leaf_commands())
def test_every_command_speaks_json(name: str):
    command = typer.main.get_command(cli.app)
    for part in name.split():
        command = command.commands[part]
    assert "--json" in [option for parameter in command.params for option in parameter.opts]


def test_telemetry_of_every_dependency_is_off_before_a_command_runs():
    environ: dict[str, str] = {}
    cli.main(["--version"], environ)
    assert environ == telemetry.OFF


def test_an_unknown_command_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["confgi"], {}) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "error: No such command 'confgi'. Did you mean 'config'?",
        "next step: see `tagtide --help`",
    ]


def test_an_unknown_option_names_the_help_of_its_command(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["config", "show", "--colour"], {}) == 2
    assert "see `tagtide config show --help`" in capsys.readouterr().err


def test_a_mendable_failure_is_one_line_and_a_next_step_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["--home", str(tmp_path), "config", "show"], {"TAGTIDE_THREADS": "two"}) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: environment TAGTIDE_THREADS: setting 'threads' is 'two'")


@pytest.mark.parametrize("position", ["first", "last"])
def test_debug_shows_the_traceback_wherever_it_stands(
    tmp_path: Path, position: str, capsys: pytest.CaptureFixture[str]
):
    command = ["--home", str(tmp_path), "config", "show"]
    arguments = ["--debug", *command] if position == "first" else [*command, "--debug"]
    assert cli.main(arguments, {"TAGTIDE_THREADS": "two"}) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "ConfigError" in shown


def test_a_message_of_several_lines_is_shown_as_one(capsys: pytest.CaptureFixture[str]):
    assert cli.report(TagtideError("first\n  second", "third"), debug=False) == 2
    assert capsys.readouterr().err == "error: first second\nnext step: third\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_forbidden_disk_is_a_mendable_failure(number: int, capsys: pytest.CaptureFixture[str]):
    assert cli.report(OSError(number, os.strerror(number), "lake/day"), debug=False) == 2
    assert capsys.readouterr().err.startswith(f"error: {os.strerror(number)}: lake/day\n")


def test_a_defect_shows_its_traceback_and_exits_with_one(capsys: pytest.CaptureFixture[str]):
    assert cli.report(ZeroDivisionError("0/0"), debug=False) == 1
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: 0/0" in shown
    assert "please report it" in shown


def test_an_interruption_exits_with_130():
    # A shell counts 128 + the signal's number; the command is stopped while it reads a settings pipe.
    asked = (
        "import os, signal, sys\n"
        "from pipelines import cli\n"
        "class Environ(dict):\n"
        "    def items(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return super().items()\n"
        "sys.exit(cli.main(['config', 'show'], Environ()))\n"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_leaves_a_pipe_early_ends_the_command_quietly(form: list[str]):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "config", "show", *form],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        env={name: value for name, value in os.environ.items() if not name.startswith("TAGTIDE_")},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_json_is_accepted_before_and_after_the_command(capsys: pytest.CaptureFixture[str]):
    shown = []
    for arguments in (["--json", "config", "show"], ["config", "show", "--json"]):
        assert cli.main(arguments, {}) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (["--home", "given"], {"TAGTIDE_HOME": "varied"}, "given"),
        ([], {"TAGTIDE_HOME": "varied"}, "varied"),
        ([], {"TAGTIDE_HOME": ""}, ".tagtide"),
        ([], {}, ".tagtide"),
    ],
)
def test_the_home_is_the_option_else_the_variable_else_the_default(
    arguments: list[str], environ: dict[str, str], expected: str, capsys: pytest.CaptureFixture[str]
):
    assert cli.main([*arguments, "config", "show", "--json"], environ) == 0
    assert json.loads(capsys.readouterr().out)["home"] == expected


def test_the_installed_script_is_this_main():
    script = Path(sys.executable).with_name("tagtide")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "tagtide 0.1.0\n"


def test_asking_for_help_imports_nothing_heavy():
    asked = (
        "import sys\n"
        "from pipelines import cli\n"
        "assert cli.main(['--help'], {}) == 0\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: []"
