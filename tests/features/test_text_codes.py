"""Numbers of texts against a dictionary, hashes that collide included."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.text_codes import PART, TextCodes, codes_by_hash, text_codes

TEXTS = st.lists(
    st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "long enough to lie elsewhere"]), st.text()),
    max_size=40,
)


def assert_numbered(texts: list[str | None], found: TextCodes) -> None:
    number = dict(zip(found.distinct.to_list(), range(len(found.distinct)), strict=True))
    assert len(number) == len(found.distinct)
    assert number.keys() == set(texts)
    assert found.codes.tolist() == [number[text] for text in texts]
    assert found.order.tolist() == sorted(range(len(texts)), key=lambda place: number[texts[place]])


@given(texts=TEXTS)
def test_equal_texts_have_one_number_and_others_another(texts: list[str | None]) -> None:
    assert_numbered(texts, text_codes(pl.Series(texts, dtype=pl.String)))


@given(texts=TEXTS, hashes=st.sampled_from([1, 2, 3]))
def test_texts_whose_hashes_collide_are_told_apart(texts: list[str | None], hashes: int) -> None:
    series = pl.Series(texts, dtype=pl.String)

    def hashed(part: pl.Series) -> np.ndarray:
        return part.hash().to_numpy() % np.uint64(hashes) << np.uint64(50)

    assert_numbered(texts, codes_by_hash(series, hashed))


@given(texts=TEXTS)
def test_hashes_that_differ_in_their_last_bits_only_are_no_harm(texts: list[str | None]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    assert_numbered(texts, codes_by_hash(series, lambda part: part.hash().to_numpy() % np.uint64(8)))


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART + 5])
def test_texts_are_numbered_alike_in_every_part(size: int) -> None:
    numbers = np.arange(size) % 1_000
    found = text_codes(
        pl.concat([pl.Series(numbers[:7]), pl.Series(numbers[7:])], rechunk=False).cast(pl.String)
    )
    assert found.distinct.cast(pl.Int64).gather(found.codes).to_numpy().tolist() == numbers.tolist()
    assert sorted(found.distinct.cast(pl.Int64)) == list(range(1_000))
