from __future__ import annotations

import io
import re

from rich.console import Console

from pipelines.stages import Stages, shown_stages


def test_stages_are_counted_and_the_step_is_named():
    told = []
    stages = Stages(lambda *shown: told.append(shown))
    stages.plan(2)
    stages("reading")
    stages.finish()
    stages.plan(1)
    assert told == [("", 0, 2), ("reading", 0, 2), ("reading", 1, 2), ("reading", 1, 3)]


def test_where_there_is_no_terminal_each_step_is_one_line_with_the_time():
    screen = io.StringIO()
    with shown_stages(Console(file=screen, width=40)) as stages:
        stages.plan(2)
        stages("reading [the] lake, which takes more than a line of this screen")
        stages.finish()
        stages("training")
    assert re.sub(r"\d:\d\d", "T", screen.getvalue()).splitlines() == [
        "… T 0/2 reading [the] lake, which takes more than a line of this screen",
        "… T 1/2 training",
    ]


def test_a_terminal_shows_a_bar_with_the_time_elapsed():
    screen = io.StringIO()
    console = Console(file=screen, width=100, force_terminal=True, color_system=None)
    with shown_stages(console) as stages:
        stages.plan(4)
        stages("reading the lake")
        stages.finish(3)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()[-1]
    assert "3/4" in last
    assert "reading the lake" in last
    assert re.search(r"\d:\d\d:\d\d", last)
