from __future__ import annotations

import json

from pipelines.backtest_report import Places, places_in, task_of, write_figures, write_pictures
from pipelines.stages import Stages
from tests.made_backtests import made_propensity, made_tags, made_value


def test_the_files_lie_beside_the_json_whatever_it_is_called(tmp_path):
    for name, stem in (("x.json", "x"), ("F", "F"), ("a.b", "a.b")):
        places = Places(tmp_path / name)
        assert (places.page.name, places.pictures.name) == (f"{stem}.html", f"{stem}-plots")


def test_a_home_keeps_a_report_for_each_task_and_date(home):
    assert places_in(home, "tags", made_tags()).figures == home.reports / "backtest-tags-2017-10-31.json"
    value = places_in(home, "clv", made_value()).figures
    assert value == home.reports / "backtest-clv-2011-09-09-90d.json"
    several = {"as_of": "2011-06-09T00:00:00+00:00, 2011-09-09T00:00:00+00:00"}
    assert places_in(home, "clv", several).figures == home.reports / "backtest-clv.json"


def test_the_task_is_told_by_the_figures():
    assert [task_of(found) for found in (made_tags(), made_propensity(), made_value())] == [
        "tags",
        "propensity",
        "clv",
    ]


def test_pictures_of_an_earlier_run_go_and_others_stay(tmp_path):
    places = Places(tmp_path / "x.json")
    places.pictures.mkdir()
    for name in ("lift-72h.png", "precision-coverage-gone.svg", "mine.png", "lift-notes.txt"):
        (places.pictures / name).write_text("old", encoding="utf-8")
    write_figures(places, made_tags())
    written = write_pictures(places, "tags", made_tags(), Stages(lambda *_: None))
    assert json.loads(written.figures.read_text(encoding="utf-8")) == made_tags()
    assert sorted(path.name for path in places.pictures.iterdir()) == [
        "lift-notes.txt",
        "mine.png",
        "precision-coverage-interest.png",
        "precision-coverage-interest.svg",
    ]
    assert len(written.remarks) == 1
