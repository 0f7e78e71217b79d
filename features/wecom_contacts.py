"""Whose WeCom contact a customer is, by the ids that identities join."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from configs.wecom import WecomConfig
from features.identities import Spaces

CONTACT_MARK = "/"
"""Parts a member of staff from the customer in an id of the contact space; no ``userid`` holds one."""

Lack = Literal["no_external_userid", "no_staff"]


class Contact(NamedTuple):
    """A customer as one member of staff knows them."""

    userid: str
    external_userid: str


def contacts_of(
    members: Sequence[str], spaces: Spaces, config: WecomConfig
) -> tuple[list[Contact], Lack | None]:
    """Return the contacts that a customer's ids name.

    An id ``USERID/EXTERNAL_USERID`` of the contact space is one. An ``external_userid`` that none of those
    names is the contact of whom the file says, else of the default member of staff.

    Parameters
    ----------
    members
        All canonical ids of the customer.

    Returns
    -------
    The contacts in the order of their texts, and what is missing where there are none.
    """
    pairs = [
        Contact(userid, external)
        for text in _ids_in(members, config.contact_space, spaces)
        for userid, mark, external in [text.partition(CONTACT_MARK)]
        if userid and mark and external
    ]
    known = {pair.external_userid for pair in pairs}
    others = set(_ids_in(members, config.external_userid_space, spaces)) - known
    staff = {one: config.staff.by_customer.get(one, config.staff.default) for one in others}
    pairs += [Contact(userid, one) for one, userid in staff.items() if userid]
    if pairs:
        return sorted(set(pairs)), None
    return [], "no_staff" if others else "no_external_userid"


def _ids_in(members: Sequence[str], name: str, spaces: Spaces) -> list[str]:
    prefix = spaces.prefix_of(name)
    if prefix:
        return [text.removeprefix(prefix) for text in members if text.startswith(prefix)]
    return [rest for own, rest in map(spaces.parted, members) if not own]
