"""Comparisons of event columns: read once, told clearly where wrong, and the same as Python's own."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.memory import columns_of
from features.where import COLUMNS, NUMBER_COLUMNS, Where
from tests.features.streams import frame, streams

SIGNS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
NUMBERS = st.sampled_from([0, 1, 5, 250, -1, 0.5, 2**40])


@given(
    rows=streams(max_events=12),
    column=st.sampled_from(NUMBER_COLUMNS),
    sign=st.sampled_from(list(SIGNS)),
    number=NUMBERS,
    other=st.sampled_from([None, *NUMBER_COLUMNS]),
)
def test_numbers_are_compared_as_python_compares_them_unknown_being_0(rows, column, sign, number, other):
    where = Where(f"{column} {sign} {number}" + (f" * {other}" if other else ""))
    expected = [SIGNS[sign](row[column] or 0, number * ((row[other] or 0) if other else 1)) for row in rows]
    assert where.of_events(columns_of(frame(rows))).tolist() == expected


@given(rows=streams(max_events=12), text=st.sampled_from(["tea", "牛奶", "never sold"]))
def test_texts_are_the_same_or_not_and_unknown_is_none(rows, text):
    columns = columns_of(frame(rows))
    same = Where(f"category == {text!r}").of_events(columns).tolist()
    assert same == [row["category"] == text for row in rows]
    assert Where(f"category != {text!r}").of_events(columns).tolist() == [not one for one in same]


@given(rows=streams(max_events=12))
def test_and_binds_tighter_than_or_unless_there_are_brackets(rows):
    columns = columns_of(frame(rows))
    few = [(row["amount_minor"] or 0, row["coupon_minor"] or 0, row["discount_minor"] or 0) for row in rows]
    found = Where("amount_minor > 1 or coupon_minor > 0 and discount_minor > 0").of_events(columns)
    assert found.tolist() == [a > 1 or (c > 0 and d > 0) for a, c, d in few]
    found = Where("(amount_minor > 1 or coupon_minor > 0) and discount_minor > 0").of_events(columns)
    assert found.tolist() == [(a > 1 or c > 0) and d > 0 for a, c, d in few]


@given(rows=streams(max_events=12), sizes=st.lists(st.integers(1, 4), max_size=20))
def test_a_group_is_its_sums_and_any_of_its_texts(rows, sizes):
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    groups = [rows[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    groups = [group for group in groups if group]
    order = np.arange(min(sum(sizes), len(rows)))
    begins = np.array(starts[: len(groups)], np.int64)
    where = Where("coupon_minor >= 7 and category == 'tea' or amount_minor == 251")
    found = where.of_groups(columns_of(frame(rows)), begins, order).tolist()
    assert found == [
        (
            sum(row["coupon_minor"] or 0 for row in group) >= 7
            and any(row["category"] == "tea" for row in group)
        )
        or sum(row["amount_minor"] or 0 for row in group) == 251
        for group in groups
    ]


def test_it_names_the_columns_it_looks_at_and_those_it_compares():
    where = Where("coupon_minor > 0 or discount_minor >= 0.25 * amount_minor and coupon_minor < 9")
    assert where.columns == ("coupon_minor", "discount_minor", "amount_minor")
    assert where.compared == ("coupon_minor", "discount_minor")


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("cupon_minor > 0", ["'cupon_minor'", "did you mean 'coupon_minor'", *COLUMNS]),
        ("amount_minor > 2 * discuont_minor", ["'discuont_minor'", "did you mean 'discount_minor'"]),
        ("item_id == 'a'", ["unknown event column 'item_id'", "expected one of quantity"]),
        ("0 < coupon_minor", ["unknown event column '0'"]),
        ("coupon_minor = 0", ["'coupon_minor = 0' cannot be read", "equal is '=='"]),
        ("coupon_minor >", ["cannot be read", "coupon_minor > 0"]),
        ("coupon_minor", ["'coupon_minor' compares nothing", ">, >=, <, <=, ==, !="]),
        ("not coupon_minor > 0", ["'not coupon_minor > 0' compares nothing"]),
        ("coupon_minor in [1, 2]", ["unknown operator", "expected one of >"]),
        ("coupon_minor is 0", ["unknown operator"]),
        ("0 < coupon_minor < 3", ["compares twice", "'and'"]),
        ("coupon_minor > 'a'", ["is no number"]),
        ("coupon_minor > True", ["'True' is no number"]),
        ("coupon_minor > amount_minor / 2", ["'amount_minor / 2' is no number", "0.25 * amount_minor"]),
        ("coupon_minor > category", ["'category' holds texts", "expected one of quantity"]),
        ("category > 'tea'", ["operator '>'", "'==' or '!='"]),
        ("category == 3", ["'category' holds texts", "quoted"]),
        ("__import__('os').system('true') == 0", ["unknown event column"]),
        ("coupon_minor > (lambda: 1)()", ["is no number"]),
    ],
)
def test_whatever_is_no_comparison_is_refused_in_words(said, parts):
    with pytest.raises(ValueError, match=r"compar|expected|read|number") as caught:
        Where(said)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
