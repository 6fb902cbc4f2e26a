"""Where imported things go.

``Dataset:42``, ``Screen:name:Foo``, ``Project:name:P/Dataset:name:D`` and their kin.
"""

from __future__ import annotations

from typing import Any

import omero
import omero.model
import omero.sys
from omero.rtypes import rstring

from server_bridge.sandbox.importer.connection import Connection

KINDS = ("Dataset", "Screen", "Project")


class TargetError(Exception):
    """The target cannot be used; the message is the original's."""


def find_target(connection: Connection, text: str) -> Any:
    """The container that ``-T`` names, made if it is asked for by a name that is not there.

    Raises TargetError.
    """
    if text.startswith("Project:"):
        above, slash, below = text.partition("/")
        if not slash or not below.startswith("Dataset:"):
            raise TargetError(f"Could not load target: {text}")
        project = _one(connection, above)
        dataset = _one(connection, below)
        _link(connection, project, dataset)
        return dataset
    return _one(connection, text)


def _one(connection: Connection, text: str) -> Any:
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise TargetError(f"Could not load target: {text}")
    discriminator, colon, name = rest.partition(":")
    if not colon:
        return _by_id(connection, kind, rest, text)
    if discriminator == "id":
        return _by_id(connection, kind, name, text)
    if discriminator.lstrip("+-%@") != "name":
        raise TargetError(f"Could not load target: {text}")
    return _by_name(connection, kind, discriminator[:1], name, text)


def _by_id(connection: Connection, kind: str, text: str, whole: str) -> Any:
    try:
        found = connection.query.get(kind, int(text))
    except (ValueError, omero.ServerError) as error:
        raise TargetError(f"Could not load target: {whole}") from error
    if not found.details.permissions.canLink():
        raise TargetError("Cannot link to target")
    return found


def _by_name(connection: Connection, kind: str, sign: str, name: str, whole: str) -> Any:
    given = omero.sys.ParametersI().addString("name", name)
    found = connection.query.findAllByQuery(
        f"select o from {kind} as o where o.name = :name order by o.id desc", given
    )
    usable = [one for one in found if one.details.permissions.canLink()]
    if sign == "%" and len(usable) != 1:
        raise TargetError(f"Could not load target: {whole}: {len(usable)} containers have that name")
    if usable and sign != "@":
        return usable[-1] if sign == "-" else usable[0]
    made = getattr(omero.model, f"{kind}I")()
    made.name = rstring(name)
    return connection.update.saveAndReturnObject(made)


def _link(connection: Connection, project: Any, dataset: Any) -> None:
    given = omero.sys.ParametersI().addLong("pid", project.id.val).addLong("did", dataset.id.val)
    known = connection.query.projection(
        "select pdl.id from ProjectDatasetLink pdl where pdl.parent.id = :pid and pdl.child.id = :did", given
    )
    if not known:
        link = omero.model.ProjectDatasetLinkI()
        link.parent = omero.model.ProjectI(project.id.val, False)
        link.child = omero.model.DatasetI(dataset.id.val, False)
        connection.update.saveObject(link)
