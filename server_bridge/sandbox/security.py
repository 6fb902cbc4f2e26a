"""Who may see and change what: OMERO's group permissions as pure functions over one caller.

A group's permissions are six letters (``rw----`` private, ``rwr---`` read-only, ``rwra--`` read-annotate,
``rwrw--`` read-write). The rules are those of OMERO's documentation of server permissions: an owner does
everything with her own data; an owner of the group and an administrator with WriteOwned may edit and delete
it; members read, annotate or write as the letters say; in a private group nobody but the owner links or
annotates.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

USER_GROUP = 1
SYSTEM_GROUP = 0
GUEST_GROUP = 2
ROOT = 0
GUEST = 1
ALL_GROUPS = -1

ALL_PRIVILEGES = (
    "Chgrp",
    "Chown",
    "DeleteFile",
    "DeleteManagedRepo",
    "DeleteOwned",
    "DeleteScriptRepo",
    "ModifyGroup",
    "ModifyGroupMembership",
    "ModifyUser",
    "ReadSession",
    "Sudo",
    "WriteFile",
    "WriteManagedRepo",
    "WriteOwned",
    "WriteScriptRepo",
)


class Action(Enum):
    """What a caller may be restricted from, with the place in the list of restrictions that OMERO sends."""

    LINK = 0
    EDIT = 1
    DELETE = 2
    ANNOTATE = 3
    CHGRP = 4
    CHOWN = 5


@dataclass(frozen=True)
class Caller:
    """The security context of one call.

    A user in a group (or in all of hers), with the powers she has there.
    """

    user_id: int
    user_name: str
    group_id: int
    member_of: frozenset[int]
    leader_of: frozenset[int]
    privileges: frozenset[str]
    admin: bool
    session_id: int
    session_uuid: str
    group_permissions: dict[int, str]
    sudoer_id: int | None = None
    sudoer_name: str | None = None
    event_type: str = "User"

    @property
    def writing_group(self) -> int | None:
        """The group that new rows belong to; None when the context is all groups."""
        return None if self.group_id == ALL_GROUPS else self.group_id

    def sees_all_of(self, group: int) -> bool:
        """Whether every row of the group is visible, whoever owns it."""
        if self.admin or group == USER_GROUP or group in self.leader_of:
            return True
        return group in self.member_of and self.group_permissions.get(group, "rw----")[2] == "r"

    def sees(self, owner: int | None, group: int) -> bool:
        """Whether one row with that owner and group is visible, in whatever group the call is made."""
        return self.sees_all_of(group) or (owner == self.user_id and group in self.member_of)

    def visible_groups(self) -> tuple[list[int], list[int]] | None:
        """(groups seen whole, groups of which only own rows are seen); None when nothing is hidden."""
        if self.group_id == ALL_GROUPS:
            if self.admin:
                return None
            wanted = set(self.member_of | {USER_GROUP})
        else:
            wanted = {self.group_id, USER_GROUP}
        whole = sorted(group for group in wanted if self.sees_all_of(group))
        own = sorted(wanted - set(whole))
        return whole, own

    def visible_sql(self, alias: str) -> str:
        """The condition that keeps rows of ``alias`` the caller may see, as SQL with no parameters."""
        groups = self.visible_groups()
        if groups is None:
            return "1"
        whole, own = groups
        parts = []
        if whole:
            parts.append(f"{alias}.details_group IN ({', '.join(map(str, whole))})")
        if own:
            parts.append(
                f"({alias}.details_group IN ({', '.join(map(str, own))})"
                f" AND {alias}.details_owner = {self.user_id})"
            )
        return "(" + " OR ".join(parts) + ")" if parts else "0"

    def may(self, action: Action, owner: int | None, group: int | None) -> bool:
        """Whether the caller may do ``action`` to a row with that owner and group."""
        if owner is None or group is None:
            return self.admin and "WriteOwned" in self.privileges
        letters = self.group_permissions.get(group, "rw----")
        mine = owner == self.user_id
        if action is Action.CHOWN:
            return self.admin and "Chown" in self.privileges
        if action is Action.CHGRP:
            return mine or (self.admin and "Chgrp" in self.privileges)
        if action in (Action.LINK, Action.ANNOTATE) and not mine and letters[2] != "r":
            return False
        if mine or group in self.leader_of:
            return True
        needed = "DeleteOwned" if action is Action.DELETE else "WriteOwned"
        if self.admin and needed in self.privileges:
            return True
        if group not in self.member_of:
            return False
        if action is Action.ANNOTATE:
            return letters[3] in "aw"
        return letters[3] == "w"

    def restrictions(self, owner: int | None, group: int | None) -> list[bool]:
        """OMERO's list of what is *not* allowed, one flag for each :class:`Action` in order."""
        return [not self.may(action, owner, group) for action in Action]
