"""What a new sandbox holds: the people of the training, their groups and a few places to import to.

The passwords are documented and for training only; on disk there are PBKDF2 digests, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from server_bridge.sandbox.model import ENTITIES
from server_bridge.sandbox.people import People
from server_bridge.sandbox.security import (
    ALL_PRIVILEGES,
    GUEST,
    GUEST_GROUP,
    ROOT,
    SYSTEM_GROUP,
    USER_GROUP,
)
from server_bridge.sandbox.store import Store, now_ms


@dataclass(frozen=True)
class SeedUser:
    """A user of the training; the first group is the default one, ``owns`` lists groups she owns."""

    name: str
    password: str
    first: str
    last: str
    groups: tuple[str, ...] = ()
    owns: tuple[str, ...] = ()
    privileges: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SeedGroup:
    name: str
    permissions: str
    description: str


GROUPS = (
    SeedGroup("Cytoskeleton", "rwra--", "Read-annotate: members see and annotate each other's data"),
    SeedGroup("Platform", "rw----", "Private: everybody sees her own data only"),
    SeedGroup("Screens", "rwrw--", "Read-write: members work on each other's data"),
)
USERS = (
    SeedUser("root", "root-sandbox", "root", "root", privileges=ALL_PRIVILEGES),
    SeedUser("ferry", "ferry-sandbox", "Ferry", "Service", privileges=("Sudo",)),
    SeedUser("alice", "alice-sandbox", "Alice", "Actin", ("Cytoskeleton", "Platform")),
    SeedUser("bob", "bob-sandbox", "Bob", "Bundle", ("Cytoskeleton", "Screens")),
    SeedUser(
        "carol",
        "carol-sandbox",
        "Carol",
        "Cortex",
        ("Cytoskeleton", "Platform", "Screens"),
        ("Cytoskeleton",),
    ),
)
# (owner, group, project or None, datasets)
PLACES = (
    ("alice", "Cytoskeleton", "Actin project", ("embryos", "cell migration")),
    ("alice", "Cytoskeleton", None, ("screen-12",)),
    ("alice", "Platform", "Calibration", ("beads",)),
    ("bob", "Cytoskeleton", "Microtubules", ("time lapse",)),
    ("bob", "Screens", "Drug response", ("pilot",)),
)
SCREENS = (("bob", "Screens", "Kinase inhibitors"), ("carol", "Screens", "siRNA library"))


def seed(store: Store, people: People, empty: bool = False) -> None:
    """Fill a new database; does nothing to one that has been filled before. ``empty`` leaves out projects."""
    with store.transaction():
        if store.setting("seeded") is not None:
            return
        groups = {
            "system": people.add_group("system", "rw----", fixed_id=SYSTEM_GROUP),
            "user": people.add_group("user", "rwr-r-", fixed_id=USER_GROUP),
            "guest": people.add_group("guest", "rw----", fixed_id=GUEST_GROUP),
        }
        for group in GROUPS:
            groups[group.name] = people.add_group(group.name, group.permissions, group.description)
        users = {}
        people.add_user("guest", "Guest", "Account", fixed_id=GUEST)
        people.join(GUEST, GUEST_GROUP)
        for user in USERS:
            fixed = ROOT if user.name == "root" else None
            email = f"{user.name}@sandbox.invalid"
            users[user.name] = people.add_user(user.name, user.first, user.last, email, fixed)
            store.set_password(users[user.name], user.password)
            if user.privileges is not None:
                people.join(users[user.name], SYSTEM_GROUP)
                off = [
                    (f"AdminPrivilege:{one}", "false") for one in ALL_PRIVILEGES if one not in user.privileges
                ]
                store.set_named_values(ENTITIES["Experimenter"], users[user.name], "config", off)
            for name in user.groups:
                people.join(users[user.name], groups[name], name in user.owns)
            people.join(users[user.name], USER_GROUP)
        if not empty:
            _places(store, users, groups)
        for status in ("Submitted", "Waiting", "Running", "Finished", "Error", "Cancelled"):
            store.enumeration("JobStatus", status)
        store.set_setting("seeded", "yes")


def _places(store: Store, users: dict[str, int], groups: dict[str, int]) -> None:
    def made(of: str, owner: str, group: str, **values: object) -> int:
        event = store.insert(
            "Event", time=now_ms(), experimenter=users[owner], experimenterGroup=groups[group]
        )
        details = {
            "details_owner": users[owner],
            "details_group": groups[group],
            "details_creation": event,
            "details_update": event,
        }
        return store.insert(of, None, **details, **values)

    for owner, group, project, datasets in PLACES:
        parent = made("Project", owner, group, name=project) if project else None
        for dataset in datasets:
            child = made("Dataset", owner, group, name=dataset)
            if parent is not None:
                made("ProjectDatasetLink", owner, group, parent=parent, child=child)
    for owner, group, screen in SCREENS:
        made("Screen", owner, group, name=screen)
