"""Numbers of texts against a dictionary, hashes that collide included."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.text_codes import BLOCK, PART, TextCodes, codes_by_hash, text_codes

TEXTS = st.lists(
    st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "long enough to lie elsewhere"]), st.text()),
    max_size=40,
)


def assert_numbered(texts: list[str | None], found: TextCodes) -> None:
    distinct = list(dict.fromkeys(texts))
    assert found.distinct.to_list() == distinct
    assert found.codes.tolist() == [distinct.index(text) for text in texts]


@given(texts=TEXTS)
def test_equal_texts_have_one_number_and_others_another(texts: list[str | None]) -> None:
    assert_numbered(texts, text_codes(pl.Series(texts, dtype=pl.String)))


@given(texts=TEXTS, hashes=st.sampled_from([1, 2, 3]), shift=st.sampled_from([0, 31, 32, 50]))
def test_texts_whose_hashes_collide_are_told_apart(texts: list[str | None], hashes: int, shift: int) -> None:
    series = pl.Series(texts, dtype=pl.String)

    def hashed(part: pl.Series) -> np.ndarray:
        return part.hash().to_numpy() % np.uint64(hashes) << np.uint64(shift)

    assert_numbered(texts, codes_by_hash(series, hashed, lambda part: part.hash(1).to_numpy()))


@pytest.mark.parametrize("distinct", [1, 1_000, 2 * BLOCK, 2 * BLOCK + 1, 40_000])
def test_the_table_grows_with_the_texts(distinct: int) -> None:
    numbers = np.random.default_rng(distinct).integers(0, distinct, 2 * PART + 5)
    texts = pl.concat([pl.Series(numbers[:7]), pl.Series(numbers[7:])], rechunk=False).cast(pl.String)
    found = text_codes(texts)
    assert found.distinct.n_unique() == len(found.distinct) == len(np.unique(numbers))
    assert found.distinct.cast(pl.Int64).gather(found.codes).to_numpy().tolist() == numbers.tolist()
    _, first = np.unique(numbers, return_index=True)
    assert found.first.tolist() == sorted(first.tolist())
