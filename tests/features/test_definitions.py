from __future__ import annotations

import math
import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import affinity, customer
from features.definitions import Catalogue, FeatureDefinition, FloatArray, ratio, seconds_between, spread
from features.windows import DAY_7, HOUR_72, NEVER, IntArray, Window

HOURS = "hours_{window}"
DAILY, WEEK = "daily_v1", "week_v1"


def made() -> Catalogue[IntArray]:
    catalogue: Catalogue[IntArray] = Catalogue(services=(DAILY,))

    @catalogue.windowed(HOURS, (HOUR_72, DAY_7), unit="hours", services={DAY_7: (WEEK,)})
    def hours(rows: IntArray, window: Window) -> IntArray:
        """Hours of the window."""
        return np.full(len(rows), (window.length_us or 0) // 3_600_000_000)

    @catalogue.feature(unit="things", null="nothing there")
    def half(rows: IntArray) -> FloatArray:
        """Half of it.

        In more words.
        """
        return rows / 2

    return catalogue


def test_a_function_is_declared_once_a_window_and_its_docstring_is_the_meaning() -> None:
    assert made().definitions() == [
        FeatureDefinition("hours_72h", "int", "hours", "72h", "Hours of the window.", "", (), HOURS),
        FeatureDefinition("hours_7d", "int", "hours", "7d", "Hours of the window.", "", (WEEK,), HOURS),
        FeatureDefinition("half", "float", "things", "", "Half of it.", "nothing there", (DAILY,), "half"),
    ]


def test_a_service_reads_the_features_that_name_it_and_others_are_still_computed_by_name() -> None:
    catalogue = made()
    assert catalogue.names(WEEK) == ["hours_7d"]
    assert catalogue.names(DAILY) == ["half"]
    assert catalogue.names(DAILY, WEEK) == ["hours_7d", "half"]
    assert catalogue.names("of nobody") == []
    assert catalogue.compute(np.array([1]), ["hours_72h"])["hours_72h"].tolist() == [72]


def test_services_given_once_hold_for_every_window_and_none_given_are_the_catalogues() -> None:
    catalogue: Catalogue[IntArray] = Catalogue((DAILY,))

    @catalogue.windowed("a_{window}", (HOUR_72, DAY_7), unit="things", services=(WEEK,))
    @catalogue.windowed("b_{window}", (HOUR_72, DAY_7), unit="things")
    @catalogue.windowed("c_{window}", (HOUR_72, DAY_7), unit="things", services=())
    def things(rows: IntArray, window: Window) -> IntArray:
        """Things."""
        return rows

    assert catalogue.names(WEEK) == ["a_72h", "a_7d"]
    assert catalogue.names(DAILY) == ["b_72h", "b_7d"]
    assert len(catalogue.definitions()) == 6


def test_services_of_a_window_that_is_not_computed_are_refused() -> None:
    declare = made().windowed
    with pytest.raises(ValueError, match=r"feature 'n_\{window\}' names services of 7d, which it is not"):
        declare("n_{window}", (HOUR_72,), unit="things", services={DAY_7: (WEEK,), HOUR_72: ()})


def test_only_what_is_asked_for_is_computed() -> None:
    catalogue: Catalogue[IntArray] = Catalogue()

    @catalogue.feature(unit="things")
    def costly(rows: IntArray) -> IntArray:
        """Nobody asks for it."""
        raise AssertionError

    @catalogue.feature(unit="things")
    def cheap(rows: IntArray) -> IntArray:
        """Asked for."""
        return rows

    assert list(catalogue.compute(np.array([1]), ["cheap", "cheap"])) == ["cheap"]


def test_a_feature_that_does_not_exist_cannot_be_computed() -> None:
    with pytest.raises(ValueError, match=r"unknown feature 'hours_27h' \(did you mean 'hours_72h'\?\)"):
        made().compute(np.array([1]), ["hours_27h"])


def test_features_are_computed_in_their_types_all_or_those_named() -> None:
    everything = made().compute(np.array([1, 2]))
    assert {name: values.tolist() for name, values in everything.items()} == {
        "hours_72h": [72, 72],
        "hours_7d": [168, 168],
        "half": [0.5, 1.0],
    }
    assert [values.dtype for values in everything.values()] == [np.int64, np.int64, np.float64]
    assert list(made().compute(np.array([1]), ["half"])) == ["half"]


def test_a_name_declared_twice_is_refused() -> None:
    catalogue = made()

    def half(rows: IntArray) -> IntArray:
        """Another half."""
        return rows

    with pytest.raises(ValueError, match="feature 'half' is declared twice"):
        catalogue.feature(unit="things")(half)


def test_a_feature_without_a_meaning_is_refused() -> None:
    def silent(rows: IntArray) -> IntArray:
        return rows

    with pytest.raises(ValueError, match="feature 'silent' has no docstring; expected its meaning in a line"):
        Catalogue().feature(unit="things")(silent)


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_a_spread_is_the_sample_standard_deviation(values: list[int]) -> None:
    found = spread(*(np.array([sum(v**power for v in values)]) for power in (0, 1, 2)))[0]
    if len(values) < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-3)


def test_what_cannot_be_divided_is_null() -> None:
    found = ratio(np.array([1, 0, 3]), np.array([4, 0, np.nan]))
    np.testing.assert_array_equal(found, [0.25, np.nan, np.nan])


def test_time_since_what_never_was_is_null() -> None:
    found = seconds_between(np.array([NEVER, -1_500_000]), np.array([0, 0]))
    np.testing.assert_array_equal(found, [np.nan, 1.5])


@pytest.mark.parametrize("first", ["candidates", "live", "tags", "affinity", "history"])
def test_features_are_in_one_order_whichever_module_is_imported_first(first: str) -> None:
    asked = (
        f"import features.{first}; from features import affinity, customer; "
        "print(*(one.name for one in (*customer.catalogue(), *affinity.catalogue())))"
    )
    named = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert named.stdout.split() == [one.name for one in (*customer.catalogue(), *affinity.catalogue())]


NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2**53 + 1, 2**62 + 1]),
    st.integers(-(2**62), 2**62),
    st.sampled_from([0.0, -0.0, math.nan, 0.1, -7.5]),
)
TIMES = st.integers(-(2**61), 2**61)


@given(part=NUMBERS, whole=NUMBERS, earlier=st.one_of(st.just(NEVER), TIMES), later=TIMES)
def test_one_row_alone_is_computed_as_among_others(
    part: float, whole: float, earlier: int, later: int
) -> None:
    parts, wholes, before, after = (np.array([one, one]) for one in (part, whole, earlier, later))
    for alone, among in (
        (ratio(parts[:1], wholes[:1]), ratio(parts, wholes)),
        (seconds_between(before[:1], after[:1]), seconds_between(before, after)),
    ):
        assert (alone.dtype, alone.shape) == (among.dtype, (1,))
        assert alone.tobytes() == among[:1].tobytes() or (np.isnan(alone[0]) and np.isnan(among[0]))
