import json
from pathlib import Path

import pytest

from configs.errors import HomeError
from configs.home import LAYOUT_VERSION, MARKER, Home, open_home


def test_a_new_home_is_made_with_its_parents_and_marked(tmp_path: Path):
    root = tmp_path / "shops" / "berlin"
    assert open_home(root, create=True) == Home(root)
    assert json.loads((root / MARKER).read_text()) == {"layout_version": LAYOUT_VERSION}


def test_a_home_opens_again_and_keeps_what_is_in_it(tmp_path: Path):
    open_home(tmp_path, create=True).lake.mkdir()
    for create in (True, False):
        assert open_home(tmp_path, create=create).lake.is_dir()


def test_a_missing_home_is_not_made_unless_asked(tmp_path: Path):
    with pytest.raises(HomeError, match="no home at") as raised:
        open_home(tmp_path / "none", create=False)
    assert "tagtide demo" in raised.value.next_step
    assert not (tmp_path / "none").exists()


def test_a_folder_with_nothing_but_a_settings_file_may_become_a_home(tmp_path: Path):
    (tmp_path / "tagtide.yaml").write_text("threads: 1\n")
    open_home(tmp_path, create=True)
    assert (tmp_path / MARKER).is_file()


def test_a_foreign_folder_is_refused_and_left_as_it_was(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(HomeError, match=r"is not a Tagtide home"):
        open_home(tmp_path, create=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_home_of_another_layout_is_refused_with_both_versions(tmp_path: Path):
    (tmp_path / MARKER).write_text(json.dumps({"layout_version": LAYOUT_VERSION + 1}))
    with pytest.raises(HomeError, match=rf"layout {LAYOUT_VERSION + 1}.* layout {LAYOUT_VERSION}"):
        open_home(tmp_path, create=True)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_marker_is_named(tmp_path: Path, content: str):
    (tmp_path / MARKER).write_text(content)
    with pytest.raises(HomeError, match=f"{MARKER} is damaged"):
        open_home(tmp_path, create=False)


def test_a_file_is_no_home(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HomeError, match="is a file, not a directory"):
        open_home(tmp_path / "file", create=True)


def test_a_home_below_a_file_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HomeError, match="cannot write home"):
        open_home(tmp_path / "file" / "home", create=True)


def test_every_place_lies_under_the_root_and_no_two_are_one(tmp_path: Path):
    home = Home(tmp_path)
    places = [getattr(home, name) for name, kind in vars(Home).items() if isinstance(kind, property)]
    assert len(set(places)) == len(places) == 16
    assert all(place.is_relative_to(tmp_path) and place != tmp_path for place in places)
