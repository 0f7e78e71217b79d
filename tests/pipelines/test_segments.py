from __future__ import annotations

from tests.small_shop import tagtide
from training.artifact import load_bundle
from training.publication import published


def test_the_segments_that_serve_are_shown_with_sizes_and_sentences(small_shop):
    run = small_shop.run("segments", "--json")
    assert run.code == 0, run.err
    found = run.json
    bundle = load_bundle(published(small_shop.home)["segments"].directory)
    assert (found["model_version"], found["serves"]) == ("segments/1", True)
    assert [one["number"] for one in found["segments"]] == [
        one["number"] for one in bundle.content["segments"]
    ]
    assert sum(one["customers"] for one in found["segments"]) == 160
    assert all(" orders in 365 days" in one["description"] for one in found["segments"])
    assert all("centroid" not in one for one in found["segments"])
    assert len(found["segments"]) == found["metrics"]["segments"]


def test_the_screen_says_why_there_are_so_many(small_shop):
    run = small_shop.run("segments")
    assert run.code == 0
    assert "serving" in run.out
    assert "adjusted Rand index" in " ".join(run.out.split())


def test_what_waits_can_be_asked_for_and_where_nothing_does_the_step_is_named(small_shop, home):
    run = small_shop.run("segments", "--challenger")
    assert run.code == 2
    assert "has no challenger of segments" in run.err
    run = tagtide(home.root, "segments")
    assert run.code == 2
    assert "has no segments" in run.err
    assert "tagtide train segments" in run.err
