"""The documents say what is there: commands, options, links, figures, settings, and examples that run."""

import doctest
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import polars as pl
import pytest

from configs.home import Home
from configs.settings import NOT_SETTINGS, PREFIX, Settings, load_settings
from features import affinity, customer
from features.definitions import FeatureDefinition
from features.lake import Lake
from features.mapping import load_mapping
from features.quarantine import Quarantine
from pipelines.import_events import import_source
from serving.schemas import ConsentRequest, EventsRequest, PredictionsRequest, TakeoverRequest
from serving.wecom_schemas import WecomDiffRequest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
SHELL = {"sh", "bash", "console"}
PICTURE_BYTES_MAX = 300_000

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
NOT_MEASURED = re.compile(r"72 h|90 days|[89]0 % interval|p99|2 cores|by chance: [^|]*")
LEAST_FIGURES = 18


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [block["body"] for block in found if block["language"] in languages]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def shell_lines(page: Path) -> Iterator[str]:
    """Yield what a reader may type: lines of shell blocks, and code in the text."""
    for body in blocks(page, *SHELL):
        for line in body.replace("\\\n", " ").splitlines():
            yield line.removeprefix("$ ").split("  # ")[0]
    yield from SPAN.findall(prose(page))


def named_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after ``tagtide`` of each command line."""
    for line in shell_lines(page):
        for part in re.split(r"[|;&]", line):
            found = re.match(r"\s*(?:\w+=\S+ )*(?:\.venv/bin/)?tagtide (?P<rest>.+)", part)
            if found and "…" not in found["rest"]:
                yield shlex.split(re.sub(r"[\[\]]", "", found["rest"]), comments=True)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("generate_reference")


@pytest.fixture
def refresh(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("refresh_readme")


def options_of(command: Any) -> set[str]:
    return {"-h", "--help", *(name for one in command.params for name in (*one.opts, *one.secondary_opts))}


def complaint(words: list[str], line: Any) -> str:
    """Say what of a command line is not there; empty if all is."""
    shared = options_of(line)
    while words and words[0].startswith("-"):
        if words[0] not in shared:
            return f"tagtide has no {words[0]}"
        words = words[2 if words[0] == "--home" else 1 :]
    command = line
    while words and hasattr(command, "commands"):
        if words[0] == "OPTIONS":
            return ""
        if words[0] not in command.commands:
            return f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    unknown = {word.split("=")[0] for word in words if word.startswith("--")} - options_of(command)
    return f"{command.name} has no {', '.join(sorted(unknown))}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_command_and_option_that_is_named_exists(page: Path, reference: ModuleType):
    line = reference.command_line()
    found = [complaint(words, line) for words in named_commands(page)]
    assert [text for text in found if text] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--home shop import shop.yaml --until 2017-10-31", ""),
        ("config show --json", ""),
        ("improt shop.yaml", "no command improt"),
        ("config shwo", "no command shwo"),
        ("import shop.yaml --til 2017", "import has no --til"),
        ("--hom x import", "tagtide has no --hom"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(words: str, expected: str, reference: ModuleType):
    assert complaint(words.split(), reference.command_line()) == expected


def test_the_readme_names_enough_commands_for_the_check_to_mean_something():
    assert {"serve", "import", "train", "promote", "score"} <= {
        word for words in named_commands(ROOT / "README.md") for word in words
    }


def anchors(page: Path) -> set[str]:
    headings = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_relative_link_and_its_anchor_resolve(page: Path):
    broken = []
    for found in LINK.findall(prose(page)):
        target = found[0] or found[1]
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            broken.append(target)
    assert broken == []


def test_the_table_of_contents_names_every_page():
    linked = {(DOCS / target).resolve() for target, _ in LINK.findall(prose(DOCS / "index.md"))}
    assert {page for page in [*PAGES, *DOCS.glob("*.ipynb")] if page.name != "index.md"} == linked


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_make_target_that_is_named_exists(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {found[1] for line in shell_lines(page) for found in [re.match(r"make ([a-z-]+)", line)] if found}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_variable_that_is_named_is_a_setting_or_a_place(page: Path):
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    assert set(re.findall(r"\bTAGTIDE_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("page", ["commands.md", "configuration.md", "features.md"])
def test_the_generated_pages_are_up_to_date(page: str, reference: ModuleType):
    assert reference.generated(page) == (DOCS / page).read_text(encoding="utf-8"), (
        "run `python docs/generate_reference.py`"
    )


def test_commands_are_told_by_name_with_their_help(reference: ModuleType):
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    for words, command in reference.all_commands():
        assert f"### `tagtide {' '.join(words)}" in page
        assert command.help.split("\n")[0] in page


def told_features(title: str) -> dict[str, dict[str, str]]:
    """Return what the page of features says of each under a heading, by name, windows filled in."""
    section = (DOCS / "features.md").read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    told = {}
    for row in rows:
        said = dict(zip(head, row, strict=True))
        for window in said["windows"].split() or [""]:
            told[said["name"].strip("`").format(window=window)] = said | {"window": window}
    return told


def readers(told: dict[str, str]) -> set[str]:
    """Return the services that a row of the page says read the feature over its window."""
    found = set()
    for part in told["read by"].split(";"):
        services, windows = re.findall(r"`(\w+)`", part), re.sub(r"`\w+`|–", "", part).split()
        if not windows or told["window"] in windows:
            found |= set(services)
    return found


@pytest.mark.parametrize(
    ("title", "definitions"),
    [
        ("Of a customer", customer.catalogue()),
        ("Of a customer and a category or brand", affinity.catalogue()),
    ],
)
def test_the_page_of_features_tells_every_feature_its_window_unit_meaning_null_and_readers(
    title: str, definitions: list[FeatureDefinition]
):
    told = told_features(title)
    assert told.keys() == {one.name for one in definitions}
    for one in definitions:
        row = told[one.name]
        assert (row["window"], row["unit"], row["meaning"]) == (one.window, one.unit, one.meaning), one.name
        assert row["null means"] == (one.null_meaning or "never null"), one.name
        assert readers(row) == set(one.services), one.name


@pytest.mark.parametrize(
    "name",
    [
        "feature_catalogue",
        "generate_reference",
        "refresh_api",
        "refresh_readme",
        "readme_replies",
        "results_goals",
        "results_page",
        "run_tutorial",
    ],
)
def test_the_examples_of_the_scripts_that_write_documents_are_true(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(DOCS)
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted > 0
    assert done.failed == 0


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "api.md"], ids=label)
def test_every_body_that_is_posted_is_one_the_service_reads(page: Path):
    bodies = re.findall(r"-d '([^']+)'", "\n".join(blocks(page, *SHELL)))
    known = {
        '"events"': EventsRequest,
        '"customer_ids"': PredictionsRequest,
        '"cursor"': WecomDiffRequest,
        '"on"': TakeoverRequest,
    }
    kinds = [next((kind for name, kind in known.items() if name in body), ConsentRequest) for body in bodies]
    assert set(kinds) >= {EventsRequest, PredictionsRequest}
    for body, kind in zip(bodies, kinds, strict=True):
        msgspec.json.decode(body, type=kind)


def demo_summary() -> dict[str, Any]:
    return json.loads((DOCS / "demo-summary.json").read_text(encoding="utf-8"))


def readme_figures() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split("<!-- begin figures -->")[1].split("<!-- end figures -->")[0]


def test_the_readme_shows_the_demo_summary_as_it_is(refresh: ModuleType):
    assert readme_figures().strip() == refresh.figures_block(demo_summary()), (
        "run `python docs/refresh_readme.py`"
    )


def test_every_figure_of_the_readme_stands_in_the_demo_summary(refresh: ModuleType):
    measured = [float(value) for _, value in refresh.leaves(demo_summary()) if isinstance(value, int | float)]
    shown = NUMBER.findall(NOT_MEASURED.sub("", readme_figures()))
    assert len(shown) >= LEAST_FIGURES
    for text in shown:
        value, digits = float(text.replace(",", "")), len(text.partition(".")[2])
        scaled = [abs(one * scale) for one in measured for scale in (1, 100)]
        assert any(abs(one - value) <= 0.5000001 * 10**-digits for one in scaled), text


def test_a_summary_with_a_gap_is_no_showpiece(refresh: ModuleType):
    summary = demo_summary()
    summary["clv"]["bias"] = None
    with pytest.raises(ValueError, match=r"did not measure clv\.bias"):
        refresh.figures_block(summary)


def test_the_readme_shows_a_picture_of_the_report_that_loads_quickly():
    assert "](docs/images/report.png)" in (ROOT / "README.md").read_text(encoding="utf-8")
    picture = (DOCS / "images" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < PICTURE_BYTES_MAX


def import_example(home: Home, folder: Path, table: str, mapping: str) -> Any:
    (folder / "shop.csv").write_text(table, encoding="utf-8")
    (folder / "shop.yaml").write_text(mapping, encoding="utf-8")
    return import_source(
        home,
        load_settings(home.root, {}).settings,
        load_mapping(str(folder / "shop.yaml"), {}),
        now=datetime(2024, 3, 2, tzinfo=UTC),
        until=None,
        environ={},
    )


def test_the_readmes_mapping_stores_its_good_rows_and_keeps_the_bad_one(home: Home, tmp_path: Path):
    (table,), (mapping,) = blocks(ROOT / "README.md", "csv"), blocks(ROOT / "README.md", "yaml")
    report = import_example(home, tmp_path, table, mapping)
    assert (report.rows_read, report.stored, report.quarantined) == (3, 2, 1)
    events = Lake(home.lake).read().sort("event_time")
    assert events["customer_id"].to_list() == ["ann", "bob"]
    assert events["amount_minor"].to_list() == [798, 1250]
    assert Quarantine(home.quarantine).read(None)["field"].to_list() == ["event_time"]


def test_the_mapping_that_the_sources_page_begins_with_imports_as_it_stands(home: Home, tmp_path: Path):
    page = DOCS / "sources.md"
    report = import_example(home, tmp_path, blocks(page, "csv")[0], blocks(page, "yaml")[0])
    assert (report.rows_read, report.stored, report.quarantined) == (2, 2, 0)
    events = Lake(home.lake).read(columns=["quantity", "amount_minor"])
    assert events.sum().equals(pl.DataFrame({"quantity": [3], "amount_minor": [2048]}), null_equal=True)
