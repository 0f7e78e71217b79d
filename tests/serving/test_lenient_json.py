import json

from hypothesis import given
from hypothesis import strategies as st

from serving.lenient_json import bad_field, rows_of

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(values, min_size=1, max_size=6), st.sampled_from([None, 1]), st.sampled_from([", ", " ,\n "]))
def test_rows_are_cut_out_as_they_were_sent(rows: list[object], indent: int | None, comma: str) -> None:
    sent = [json.dumps(row, indent=indent) for row in rows]
    body = f' {{ "events" : [ {comma.join(sent)} ] }} '
    assert rows_of(body.encode()) == [row.encode() for row in sent]


@given(st.binary(max_size=40))
def test_what_is_nothing_of_that_shape_has_no_rows(body: bytes) -> None:
    assert rows_of(body) is None
    assert rows_of(b'{"events": [' + body + b"]} x") is None


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    row = b'{"brand": "caf\xe9", "quantity": NaN}'
    assert rows_of(b'{"events": [' + row + b"]}") == [row]
    assert bad_field(row) == ("brand", "caf\\xe9", "text in UTF-8")


def test_the_first_value_that_json_has_not_is_named() -> None:
    assert bad_field(b'{"a": 1, "b": "\\ud83d", "c": NaN}') == ("b", "\\ud83d", "text in UTF-8")
    assert bad_field(b'{"a": 1e999}') == ("a", "Infinity", "a finite number")
    assert bad_field(b'{"a": "\\ud83d\\ude00", "b": 1.5}') is None
    assert bad_field(b"[NaN]") is None
    assert bad_field(b"{nothing}") is None
    assert bad_field(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}") is None
    assert rows_of(b'{"events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}") is None
