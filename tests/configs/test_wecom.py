import pytest

from configs.errors import ConfigError
from configs.wecom import WecomConfig, load_wecom


def test_without_a_file_everything_is_as_by_default(tmp_path):
    config = load_wecom(tmp_path)
    assert config == WecomConfig()
    assert config.group_of("interest:MILK") == "Tagtide"
    assert config.is_sent("interest:MILK")


def test_a_file_says_what_tags_are_called_and_whose_contact_a_customer_is(tmp_path):
    (tmp_path / "wecom.yaml").write_text(
        """
names: {"interest:FLUID MILK PRODUCTS": 爱喝奶}
tag_ids: {high_intent: etAAAA}
groups: {interest: 兴趣}
families: [interest, high_intent]
staff: {default: zhangsan, by_customer: {woAAAA: lisi}}
""",
        encoding="utf-8",
    )
    config = load_wecom(tmp_path)
    assert config.names == {"interest:FLUID MILK PRODUCTS": "爱喝奶"}
    assert (config.group_of("interest:TEA"), config.group_of("high_intent")) == ("兴趣", "Tagtide")
    assert (config.is_sent("high_intent"), config.is_sent("slipping_away")) == (True, False)
    assert (config.staff.default, config.staff.by_customer) == ("zhangsan", {"woAAAA": "lisi"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: {}", "name is"),
        ("names: [a]", "names is"),
        ("staff: {default: ''}", r"staff\.default is ''"),
        ("default_group: " + "x" * 31, "default_group is"),
        ("a: [", "not valid YAML|expected"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, told):
    (tmp_path / "wecom.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_wecom(tmp_path)
