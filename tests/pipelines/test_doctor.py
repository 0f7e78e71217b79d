import json
import socket
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from configs.home import open_home
from configs.settings import Settings, load_settings
from pipelines import cli, doctor
from pipelines.doctor import Finding
from pipelines.errors import CommandError
from pipelines.invocation import Invocation


def settings(tmp_path: Path, **environ: str) -> Settings:
    return load_settings(tmp_path, environ).settings


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def not_there(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_this_machine_is_ready_and_every_check_reports_under_its_own_name(tmp_path: Path):
    findings = doctor.examine(Invocation(tmp_path / "home", {}), list(doctor.CHECKS))
    assert [finding.check for finding in findings] == list(doctor.CHECKS)
    assert doctor.is_ready(findings), findings


def test_what_is_not_in_order_always_says_how_to_mend_it(tmp_path: Path):
    environ = {
        "TAGTIDE_ONLINE_STORE": "redis",
        "TAGTIDE_DATABASE_URL": "nonsense",
        "TAGTIDE_DATA": str(tmp_path / "none"),
    }
    findings = doctor.examine(Invocation(tmp_path, environ), list(doctor.CHECKS))
    amiss = [finding for finding in findings if finding.state != "ok"]
    assert {"redis", "database", "data-folder"} <= {finding.check for finding in amiss}
    assert all(finding.mend for finding in amiss)


def test_the_command_prints_json_and_exits_with_zero_when_ready(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["--home", str(tmp_path), "doctor", "python", "lightgbm", "--json"], {}) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ready"] is True
    assert [(check["check"], check["state"]) for check in shown["checks"]] == [
        ("python", "ok"),
        ("lightgbm", "ok"),
    ]


def test_the_command_exits_with_two_when_something_required_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["--home", str(tmp_path), "doctor", "settings"], {"TAGTIDE_THREADS": "two"}) == 2
    shown = capsys.readouterr()
    assert "TAGTIDE_THREADS" in shown.out
    assert shown.err == ""


def test_brackets_in_what_was_found_are_shown_and_not_read_as_a_style(capsys: pytest.CaptureFixture[str]):
    Invocation(Path("home"), {}).emit({}, doctor.as_table([doctor.demo_data(not_there)]))
    assert "tagtide[demo]" in capsys.readouterr().out


def test_an_unknown_check_is_answered_with_the_nearest_one(tmp_path: Path):
    with pytest.raises(CommandError, match=r"no check 'potr' \(did you mean 'port'\?\)"):
        doctor.examine(Invocation(tmp_path, {}), ["potr"])


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 12, 1), "fail")]
)
def test_python_is_the_one_the_pins_are_made_for(version: tuple[int, int, int], state: str):
    assert doctor.python_version(version).state == state


@pytest.mark.parametrize(
    ("failure", "mend"),
    [
        (OSError("libgomp.so.1: cannot open shared object file"), "apt-get install libgomp1"),
        (OSError("Library not loaded: @rpath/libomp.dylib"), "brew install libomp"),
        (OSError("invalid ELF header"), "reinstall"),
        (ModuleNotFoundError("No module named 'lightgbm'"), "make setup"),
    ],
)
def test_a_lightgbm_that_does_not_load_is_mended_by_what_is_missing(failure: Exception, mend: str):
    def load(name: str) -> ModuleType:
        raise failure

    finding = doctor.lightgbm_library(load)
    assert finding.state == "fail"
    assert mend in finding.mend


def test_every_direct_dependency_is_shown_with_its_version():
    finding = doctor.dependencies()
    assert finding.state == "ok"
    for name in ("bentoml", "feast", "lightgbm", "mlflow"):
        assert f"{name} {metadata.version(name)}" in finding.detail
    assert "pytest" not in finding.detail


def test_a_missing_and_an_outdated_dependency_are_both_named():
    versions = {"bentoml": "1.4.38"}

    def installed(name: str) -> str:
        return versions[name] if name in versions else not_there(name)

    wanted = ["bentoml>=1.4.39", "feast[duckdb]>=0.67", "pytest>=9; extra == 'dev'"]
    finding = doctor.dependencies(wanted, installed)
    assert finding.state == "fail"
    assert finding.detail == "bentoml 1.4.38, >=1.4.39 is needed; feast is missing"


def test_a_home_is_judged_as_it_would_be_opened(tmp_path: Path):
    assert doctor.home_writable(tmp_path / "a" / "b").state == "ok"
    assert not (tmp_path / "a").exists()
    assert doctor.home_writable(open_home(tmp_path / "home", create=True).root).state == "ok"
    (tmp_path / "empty").mkdir()
    assert doctor.home_writable(tmp_path / "empty").state == "ok"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "file").write_text("x")
    assert doctor.home_writable(tmp_path / "foreign").state == "fail"
    assert doctor.home_writable(tmp_path / "foreign" / "file").state == "fail"


def test_a_home_where_nobody_may_write_is_a_failure():
    # /proc is read-only for everyone, the superuser included.
    assert doctor.home_writable(Path("/proc/tagtide")).state == "fail"


def test_free_memory_is_what_the_system_has_within_the_limit_of_the_container(tmp_path: Path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  8000 kB\nMemAvailable:  6000 kB\n")
    assert doctor.free_memory(meminfo, tmp_path) == 6000 * 1024
    (tmp_path / "memory.max").write_text("4096000\n")
    (tmp_path / "memory.current").write_text("1096000\n")
    assert doctor.free_memory(meminfo, tmp_path) == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.free_memory(meminfo, tmp_path) == 6000 * 1024
    assert doctor.free_memory(tmp_path / "none", tmp_path) is None


def test_an_occupied_port_is_a_warning_that_names_it():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        finding = doctor.port_free("127.0.0.1", port)
        assert (finding.state, f"127.0.0.1:{port}" in finding.detail) == ("warn", True)
    assert doctor.port_free("127.0.0.1", closed_port()).state == "ok"
    assert doctor.port_free("no-such-host.invalid", 80).state == "warn"


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        (None, "set TAGTIDE_REDIS_URL"),
        ("http://:hush@127.0.0.1", "redis://HOST"),
        ("redis://:hush@127.0.0.1:{port}/0", "start Redis"),
    ],
)
def test_redis_is_looked_for_only_where_it_is_wanted(tmp_path: Path, url: str | None, mend: str):
    address = {} if url is None else {"TAGTIDE_REDIS_URL": url.format(port=closed_port())}
    assert doctor.redis_reachable(settings(tmp_path, **address)).state == "ok"
    finding = doctor.redis_reachable(settings(tmp_path, TAGTIDE_ONLINE_STORE="redis", **address))
    assert finding.state == "fail"
    assert mend in finding.mend
    assert "hush" not in str(finding)


@pytest.mark.parametrize(
    ("url", "state", "mend"),
    [
        ("sqlite:///{folder}/ledger.db", "ok", ""),
        ("sqlite:///{folder}/none/ledger.db", "fail", "check TAGTIDE_DATABASE_URL"),
        ("hush", "fail", "postgresql+psycopg://"),
        ("nosuchdatabase://user:hush@host/name", "fail", "postgresql+psycopg://"),
    ],
)
def test_a_configured_database_is_asked_and_its_address_never_shown(
    tmp_path: Path, url: str, state: str, mend: str
):
    finding = doctor.database_reachable(settings(tmp_path, TAGTIDE_DATABASE_URL=url.format(folder=tmp_path)))
    assert finding.state == state
    assert mend in finding.mend
    assert "hush" not in str(finding)


def test_a_database_whose_driver_is_missing_names_the_driver(tmp_path: Path):
    finding = doctor.database_reachable(settings(tmp_path, TAGTIDE_DATABASE_URL="oracle://user:hush@host/x"))
    assert finding.state == "fail"
    assert "pip install" in finding.mend
    assert "hush" not in str(finding)


def test_unreadable_settings_fail_once_and_leave_the_rest_unchecked(tmp_path: Path):
    invocation = Invocation(tmp_path, {"TAGTIDE_THREADS": "two"})
    findings = doctor.examine(invocation, ["settings", "port", "redis", "database"])
    assert [finding.state for finding in findings] == ["fail", "warn", "warn", "warn"]


def test_the_folder_of_data_is_optional(tmp_path: Path):
    assert doctor.data_folder({}).state == "ok"
    assert doctor.data_folder({"TAGTIDE_DATA": str(tmp_path)}).state == "ok"
    assert doctor.data_folder({"TAGTIDE_DATA": str(tmp_path / "none")}).state == "warn"


def test_a_warning_leaves_the_machine_ready_and_a_failure_does_not():
    warning, failure = Finding("a", "warn", "x", "y"), Finding("b", "fail", "x", "y")
    assert doctor.is_ready([warning])
    assert not doctor.is_ready([warning, failure])
