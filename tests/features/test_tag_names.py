import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from features.tag_names import NAME_LENGTH_MAX, TagNames, name_length, short_name

IDS = st.text(min_size=1, max_size=60) | st.builds(
    "{}:{}".format, st.sampled_from(["interest", "brand_preference"]), st.text(max_size=60)
)


@given(IDS)
def test_a_name_is_short_clean_and_the_same_again(tag_id):
    name = TagNames().of(tag_id)
    assert name == TagNames().of(tag_id)
    assert 1 <= len(name) <= name_length(name) <= NAME_LENGTH_MAX
    assert name.isprintable()
    assert name == name.strip()


@given(st.lists(IDS, unique=True, max_size=30))
def test_two_tags_never_share_a_name(tag_ids):
    assert len({short_name(one) for one in tag_ids}) == len(tag_ids)


def test_ids_that_begin_alike_or_differ_in_what_cannot_be_seen_have_names_of_their_own():
    long = "interest:" + "A" * 40
    ids = [
        long,
        long + "B",
        "interest:A B",
        "interest:A  B",
        "interest:A\tB",
        "interest:\u0301e",
        "interest:é",
    ]
    assert len({short_name(one) for one in ids}) == len(ids)


def test_an_id_that_is_another_ones_name_is_not_named_so():
    name = short_name("interest:" + "A" * 40)
    assert short_name(name) != name


def test_a_short_clean_id_is_its_own_name_also_in_chinese_and_with_slashes():
    for tag_id in ("high_intent", "interest:FLUID MILK PRODUCTS", "interest:牛奶/乳制品 类"):
        assert short_name(tag_id) == tag_id


def test_a_chosen_name_goes_first_and_is_nobody_elses():
    names = TagNames({"interest:MILK": "interest:TEA"})
    assert names.of("interest:MILK") == "interest:TEA"
    assert names.of("interest:TEA").startswith("interest:TEA~")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"a": " "}, "name of tag 'a'"),
        ({"a": "x" * 31}, "1 to 30"),
        ({"a": "🥛" * 16}, "1 to 30"),
        ({"a": "x", "b": "x"}, "'a' and 'b' are both named 'x'"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused(chosen, message):
    with pytest.raises(ConfigError, match=message):
        TagNames(chosen)
