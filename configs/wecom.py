"""What a home says about WeCom, in ``HOME/wecom.yaml``: what tags are called, whose contact a customer is."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from configs.errors import ConfigError
from configs.settings import read_yaml_mapping

FILE_NAME = "wecom.yaml"


class Staff(BaseModel):
    """Whose contact a customer is where identities do not say so.

    Attributes
    ----------
    default
        ``userid`` of a member of staff; None: nobody's.
    by_customer
        ``userid`` by ``external_userid``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str | None = Field(default=None, min_length=1, max_length=64)
    by_customer: dict[str, str] = {}


class WecomConfig(BaseModel):
    """The declarations of one home.

    Attributes
    ----------
    names
        Name by tag id, at most 30 characters; see `features.tag_names`.
    tag_ids
        WeCom's own tag id (``et…``) by tag id.
    groups
        WeCom tag group by family; others are in ``default_group``.
    families
        The families that are sent to WeCom; None: all.
    external_userid_space, contact_space
        Identity spaces: of ids that are an ``external_userid``, and of ids ``USERID/EXTERNAL_USERID`` that
        also say whose contact the customer is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: dict[str, str] = {}
    tag_ids: dict[str, str] = {}
    groups: dict[str, str] = {}
    default_group: str = Field(default="Tagtide", min_length=1, max_length=30)
    families: tuple[str, ...] | None = None
    external_userid_space: str = Field(default="external_userid", min_length=1)
    contact_space: str = Field(default="wecom_contact", min_length=1)
    staff: Staff = Staff()

    def group_of(self, tag_id: str) -> str:
        """Return the tag group a tag belongs in.

        >>> WecomConfig(groups={"interest": "兴趣"}).group_of("interest:MILK")
        '兴趣'
        """
        return self.groups.get(tag_id.partition(":")[0], self.default_group)

    def is_sent(self, tag_id: str) -> bool:
        """Tell whether a tag is sent to WeCom."""
        return self.families is None or tag_id.partition(":")[0] in self.families


def load_wecom(home: Path) -> WecomConfig:
    """Read a home's file; without one everything is as by default.

    Raises
    ------
    ConfigError
        If it is not YAML, or a field is unknown or does not fit.
    """
    path = home / FILE_NAME
    if not path.exists():
        return WecomConfig()
    try:
        return WecomConfig.model_validate(read_yaml_mapping(path, "WeCom file"))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"WeCom file {path}: {field} is {first['input']!r}: {first['msg']}") from None
