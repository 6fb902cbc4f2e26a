"""IAdmin: who is who, who is where, and the little administration that training needs."""

from __future__ import annotations

from typing import Any

import omero
import omero.model
import omero.sys
from omero.rtypes import rlong, rstring

from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.objects import load, load_one
from server_bridge.sandbox.security import (
    ALL_GROUPS,
    ALL_PRIVILEGES,
    GUEST,
    GUEST_GROUP,
    ROOT,
    SYSTEM_GROUP,
    USER_GROUP,
)
from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.sessions import usage, violation

WITH_GROUPS: dict[str, Any] = {"groupExperimenterMap": {"parent": {}, "child": {}}}
WITH_MEMBERS: dict[str, Any] = {"groupExperimenterMap": {"child": {}}}


def ids(call: Call, sql: str, values: list[Any] | None = None) -> list[int]:
    return [row[0] for row in call.store.rows(sql, values or [])]


class Admin:
    """omero.api.IAdmin."""

    # -- the caller

    def getEventContext(self, call: Call) -> Any:
        caller = call.caller
        people = call.services.people
        group_id = caller.group_id
        if group_id == ALL_GROUPS:
            group_id = call.services.sessions.use(caller.session_uuid).group_id
        group = people.group_by_id(group_id)
        memberships = [member for member, _ in people.memberships(caller.user_id)]
        return omero.sys.EventContext(
            shareId=-1,
            sessionId=caller.session_id,
            sessionUuid=caller.session_uuid,
            userId=caller.user_id,
            userName=caller.user_name,
            sudoerId=rlong(caller.sudoer_id) if caller.sudoer_id is not None else None,
            sudoerName=rstring(caller.sudoer_name) if caller.sudoer_name is not None else None,
            groupId=group_id,
            groupName=group["name"] if group else "",
            isAdmin=caller.admin,
            adminPrivileges=sorted(caller.privileges),
            eventId=-1,
            eventType=caller.event_type,
            memberOfGroups=memberships,
            leaderOfGroups=sorted(caller.leader_of),
            groupPermissions=omero.model.PermissionsI(group["permissions"] if group else "rw----"),
        )

    def getSecurityRoles(self, call: Call) -> Any:
        return omero.sys.Roles(
            ROOT, "root", SYSTEM_GROUP, "system", USER_GROUP, "user", GUEST, "guest", GUEST_GROUP, "guest"
        )

    def canUpdate(self, call: Call, given: Any) -> bool:
        loaded = load_one(call.store, call.caller, type(given).__name__[:-1], given.id.val)
        return bool(loaded is not None and loaded.details.permissions.canEdit())

    # -- looking up

    def getExperimenter(self, call: Call, user: int) -> Any:
        found = load_one(call.store, call.caller, "Experimenter", user, WITH_GROUPS)
        if found is None:
            raise usage(f"No such experimenter: {user}")
        return found

    def lookupExperimenter(self, call: Call, name: str) -> Any:
        row = call.services.people.by_name(name)
        if row is None:
            raise usage(f"No such experimenter: {name}")
        return self.getExperimenter(call, row["id"])

    def lookupExperimenters(self, call: Call) -> list[Any]:
        everyone = ids(call, "SELECT id FROM experimenter ORDER BY id")
        return load(call.store, call.caller, ENTITIES["Experimenter"], everyone, WITH_GROUPS)

    def getGroup(self, call: Call, group: int) -> Any:
        found = load_one(call.store, call.caller, "ExperimenterGroup", group, WITH_MEMBERS)
        if found is None:
            raise usage(f"No such group: {group}")
        return found

    def lookupGroup(self, call: Call, name: str) -> Any:
        row = call.services.people.group_by_name(name)
        if row is None:
            raise usage(f"No such group: {name}")
        return self.getGroup(call, row["id"])

    def lookupGroups(self, call: Call) -> list[Any]:
        groups = ids(call, "SELECT id FROM experimentergroup ORDER BY id")
        return load(call.store, call.caller, ENTITIES["ExperimenterGroup"], groups, WITH_MEMBERS)

    def containedExperimenters(self, call: Call, group: int) -> list[Any]:
        members = ids(call, "SELECT child FROM groupexperimentermap WHERE parent = ? ORDER BY child", [group])
        return load(call.store, call.caller, ENTITIES["Experimenter"], members, WITH_GROUPS)

    def containedGroups(self, call: Call, user: int) -> list[Any]:
        groups = [group for group, _ in call.services.people.memberships(user)]
        return load(call.store, call.caller, ENTITIES["ExperimenterGroup"], groups, WITH_MEMBERS)

    def getDefaultGroup(self, call: Call, user: int) -> Any:
        group = call.services.people.default_group(user)
        if group is None:
            raise usage(f"The experimenter {user} has no default group")
        return self.getGroup(call, group)

    def getMemberOfGroupIds(self, call: Call, user: Any) -> list[int]:
        return [group for group, _ in call.services.people.memberships(user.id.val)]

    def getLeaderOfGroupIds(self, call: Call, user: Any) -> list[int]:
        return [group for group, owner in call.services.people.memberships(user.id.val) if owner]

    # -- privileges

    def getCurrentAdminPrivileges(self, call: Call) -> list[Any]:
        return [_privilege(name) for name in sorted(call.caller.privileges)]

    def getAdminPrivileges(self, call: Call, user: Any) -> list[Any]:
        return [_privilege(name) for name in sorted(call.services.people.privileges(user.id.val))]

    def setAdminPrivileges(self, call: Call, user: Any, privileges: list[Any]) -> None:
        self._need(call, "ModifyUser")
        keep = {privilege.value.val for privilege in privileges}
        config = [(f"AdminPrivilege:{name}", "false") for name in ALL_PRIVILEGES if name not in keep]
        call.store.set_named_values(ENTITIES["Experimenter"], user.id.val, "config", config)

    # -- administration

    @staticmethod
    def _need(call: Call, privilege: str) -> None:
        if privilege not in call.caller.privileges:
            raise violation(f"{call.caller.user_name} lacks the privilege {privilege}")

    def createGroup(self, call: Call, group: Any) -> int:
        self._need(call, "ModifyGroup")
        letters = str(group.details.permissions) if group.details.permissions is not None else "rw----"
        description = group.description.val if group.description is not None else ""
        return call.services.people.add_group(group.name.val, letters, description)

    def createExperimenterWithPassword(
        self, call: Call, user: Any, password: Any, default: Any, others: list[Any]
    ) -> int:
        made = self.createExperimenter(call, user, default, others)
        if password is not None:
            call.store.set_password(made, password.val)
        return made

    def createExperimenter(self, call: Call, user: Any, default: Any, others: list[Any]) -> int:
        self._need(call, "ModifyUser")
        people = call.services.people
        if people.by_name(user.omeName.val) is not None:
            raise omero.ValidationException(
                None, "ome.conditions.ValidationException", f"Duplicate omeName: {user.omeName.val}"
            )
        with call.store.transaction():
            email = user.email.val if user.email is not None else ""
            made = people.add_user(user.omeName.val, user.firstName.val, user.lastName.val, email)
            for group in (default, *others):
                people.join(made, group.id.val)
        return made

    def addGroups(self, call: Call, user: Any, groups: list[Any]) -> None:
        self._need(call, "ModifyGroupMembership")
        for group in groups:
            call.services.people.join(user.id.val, group.id.val)

    def removeGroups(self, call: Call, user: Any, groups: list[Any]) -> None:
        self._need(call, "ModifyGroupMembership")
        for group in groups:
            call.services.people.leave(user.id.val, group.id.val)

    def setDefaultGroup(self, call: Call, user: Any, group: Any) -> None:
        if user.id.val != call.caller.user_id:
            self._need(call, "ModifyUser")
        call.services.people.make_default(user.id.val, group.id.val)

    def setGroupOwner(self, call: Call, group: Any, user: Any) -> None:
        self.addGroupOwners(call, group, [user])

    def addGroupOwners(self, call: Call, group: Any, users: list[Any]) -> None:
        self._need(call, "ModifyGroupMembership")
        for user in users:
            call.services.people.join(user.id.val, group.id.val, owner=True)

    def unsetGroupOwner(self, call: Call, group: Any, user: Any) -> None:
        self.removeGroupOwners(call, group, [user])

    def removeGroupOwners(self, call: Call, group: Any, users: list[Any]) -> None:
        self._need(call, "ModifyGroupMembership")
        for user in users:
            call.services.people.join(user.id.val, group.id.val, owner=False)

    def changePassword(self, call: Call, password: Any) -> None:
        call.store.set_password(call.caller.user_id, password.val)

    def changePasswordWithOldPassword(self, call: Call, old: Any, new: Any) -> None:
        if not call.store.check_password(call.caller.user_id, old.val):
            raise violation("Password is invalid")
        call.store.set_password(call.caller.user_id, new.val)

    def changeUserPassword(self, call: Call, name: str, password: Any) -> None:
        self._need(call, "ModifyUser")
        user = call.services.people.by_name(name)
        if user is None:
            raise usage(f"No such experimenter: {name}")
        call.store.set_password(user["id"], password.val)

    def synchronizeLoginCache(self, call: Call) -> None:
        return None


def _privilege(name: str) -> Any:
    made = omero.model.AdminPrivilegeI()
    made.value = rstring(name)
    return made
