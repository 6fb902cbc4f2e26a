"""Workstations: they introduce themselves with a key they made, staff give them roots, and only then they
count.

Registration needs no credentials (the machine has none yet), so it gives nothing: a pending workstation can
ask whether it was approved, and that is all. A name belongs to the key that first took it, until staff
revoke it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server_bridge.config import SiteConfig
from server_bridge.contract import (
    Heartbeat,
    Reason,
    WorkstationRegistration,
    WorkstationShare,
    WorkstationStatus,
)
from server_bridge.contract import Workstation as WorkstationAnswer
from server_bridge.errors import BadRequest, Conflict, NotFound, TooManyRequests
from server_bridge.mover import paths
from server_bridge.observability import get_logger
from server_bridge.orders import keys, notices
from server_bridge.orders.callers import KnownWorkstation
from server_bridge.orders.models import Workstation
from server_bridge.orders.store import Store

KIND = "workstation"
"""Of notices about a workstation."""
MOST_PENDING = 200
"""Registrations that nobody has approved; more can only be a mistake or an attack."""


log = get_logger("ferry.orders")


def register(store: Store, request: WorkstationRegistration, now: datetime, address: str) -> Workstation:
    """Take a workstation's introduction; a repeat with the same key gives the same workstation.

    Raises:
        Conflict: ``workstation_name_taken`` where another key has that name.
        TooManyRequests: where too many registrations wait for approval already.
    """
    key_digest = keys.digest(request.key)
    with store.write(notify=False) as session:
        found = session.scalars(select(Workstation).where(Workstation.name == request.name)).one_or_none()
        if found is None:
            _require_room(session)
            found = Workstation(
                id=str(uuid.uuid4()),
                name=request.name,
                key_digest=key_digest,
                status=WorkstationStatus.PENDING,
                roots={},
                created_at=now,
                last_seen_at=now,
                heartbeat=None,
            )
            session.add(found)
            store.audit(
                session, f"workstation {request.name}", "workstation.register", found.id, address=address
            )
        elif not keys.same(found.key_digest, key_digest):
            if found.status != WorkstationStatus.REVOKED:
                raise Conflict(
                    f"Another installation registered the name {request.name!r} with another key.",
                    code="workstation_name_taken",
                    title="This workstation name is taken",
                    remedy="Choose another name, or ask the platform staff to revoke the old registration.",
                )
            found.key_digest, found.status, found.roots = key_digest, WorkstationStatus.PENDING, {}
            store.audit(
                session, f"workstation {request.name}", "workstation.rekey", found.id, address=address
            )
        found.hostname = request.hostname[:255]
        found.agent_version = request.agent_version[:64]
        return found


def _require_room(session: Session) -> None:
    pending = session.scalar(
        select(func.count()).select_from(Workstation).where(Workstation.status == WorkstationStatus.PENDING)
    )
    if (pending or 0) >= MOST_PENDING:
        raise TooManyRequests(
            f"{pending} workstations wait for approval.",
            code="too_many_workstations",
            title="Too many workstations wait for approval",
            remedy="Ask the platform staff to approve or revoke the waiting ones.",
        )


def by_header(session: Session, header: str) -> Workstation | None:
    """The workstation of a ``<id>:<key>`` header, if the key is its own; revoked ones are nobody."""
    workstation_id, _, key = header.partition(":")
    # PostgreSQL refuses to be asked for text with a NUL; a header of HTTP cannot hold one, a test's can.
    found = session.get(Workstation, workstation_id) if key and "\0" not in workstation_id else None
    if found is None or not keys.same(found.key_digest, keys.digest(key)):
        return None
    return found if found.status != WorkstationStatus.REVOKED else None


def known(row: Workstation) -> KnownWorkstation:
    """The row as a caller's fact."""
    return KnownWorkstation(
        id=row.id,
        name=row.name,
        approved=row.status == WorkstationStatus.APPROVED,
        roots={str(share): str(root) for share, root in row.roots.items()},
    )


def named(session: Session, name: str) -> Workstation:
    """The workstation of that name (or id).

    Raises:
        NotFound: where there is none, naming those there are.
    """
    found = session.scalars(
        select(Workstation).where((Workstation.name == name) | (Workstation.id == name))
    ).first()
    if found is None:
        names = ", ".join(session.scalars(select(Workstation.name).order_by(Workstation.name)).all())
        raise NotFound(
            f"There is no workstation {name!r}; known: {names or 'none'}.",
            code="no_such_workstation",
            title="Unknown workstation",
            remedy="Start the agent on it once: it registers itself.",
        )
    return found


def checked_roots(site: SiteConfig, roots: Mapping[str, str]) -> dict[str, str]:
    """Roots as stored: plain POSIX paths below shares that exist.

    Raises:
        BadRequest: for an unknown share, or a root that is no plain path below it.
    """
    if not roots:
        raise BadRequest("A workstation needs at least one root.", remedy="Give --root SHARE=PATH.")
    found: dict[str, str] = {}
    for share, root in roots.items():
        if site.share(share) is None:
            raise BadRequest(
                f"There is no share {share!r}; this site has {', '.join(s.id for s in site.shares)}.",
                code="unknown_share",
                title="Unknown share",
            )
        plain = root.strip("/") or "."
        if plain != ".":
            problem = paths.check_path(plain)
            if problem is not None or root.startswith("/"):
                raise BadRequest(
                    problem.detail if problem else f"{root!r} is absolute.",
                    code="root_not_valid",
                    title="Not a root",
                    remedy="Give the path below the share's top, such as `scope1/data`, or `.` for the top.",
                )
        found[share] = plain
    return found


def approve(store: Store, site: SiteConfig, name: str, roots: Mapping[str, str], by: str) -> Workstation:
    """Give a workstation its roots; a repeat replaces them.

    Raises:
        NotFound, BadRequest: for an unknown workstation, share or root.
    """
    stored = checked_roots(site, roots)
    with store.write(notify=False) as session:
        found = named(session, name)
        found.status, found.roots = WorkstationStatus.APPROVED, stored
        store.audit(session, by, "workstation.approve", found.id, name=found.name, roots=stored)
        return found


def revoke(store: Store, name: str, by: str) -> Workstation:
    """End a workstation's key. Its orders go on; its name may be registered anew.

    Raises:
        NotFound: for an unknown workstation.
    """
    with store.write(notify=False) as session:
        found = named(session, name)
        found.status = WorkstationStatus.REVOKED
        store.audit(session, by, "workstation.revoke", found.id, name=found.name)
        return found


def heartbeat(store: Store, workstation_id: str, beat: Heartbeat, now: datetime) -> None:
    """Keep the last heartbeat; it is a lease that the reader lets expire (limits.acquiring_lease_seconds)."""
    with store.write(notify=False) as session:
        found = session.get_one(Workstation, workstation_id)
        found.heartbeat = beat.model_dump(mode="json")
        found.last_seen_at = now
        if beat.agent_version:
            found.agent_version = beat.agent_version[:64]
        if beat.damage:
            _tell_damage(session, found, beat.damage, now)


def _tell_damage(session: Session, workstation: Workstation, damage: str, now: datetime) -> None:
    """Staff answer for the machine: its disk may be failing, and nobody at the microscope may say so.

    The same text is told once; it names the file that was set aside, and so the moment.
    """
    which = hashlib.sha256(damage.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    new = notices.post(
        session,
        now,
        key=notices.key_of(KIND, workstation.id, which),
        kind=KIND,
        reason=Reason(
            code="workstation_damaged",
            title=f"{workstation.name}: the agent's own files were damaged",
            detail=damage,
            remedy="Look at its disk. What became of the files is in the agent's manual, section 8.",
            since=now,
        ),
    )
    if new:
        log.warning("a workstation's files were damaged", workstation=workstation.name, detail=damage)


def answer(site: SiteConfig, row: Workstation) -> WorkstationAnswer:
    """What a workstation is told about itself; shares and rules only once it is approved."""
    shares = []
    for share in site.shares if row.status == WorkstationStatus.APPROVED else ():
        root = row.roots.get(share.id)
        if root is None:
            continue
        shares.append(
            WorkstationShare(
                id=share.id,
                title=share.title or share.id,
                root=str(root),
                marker=share.marker,
                mtime_tolerance_seconds=share.mtime_tolerance_seconds,
                rule=share.rule.of(row.name),
                hold_days=share.hold_days,
                lifetime_days=share.lifetime_days,
                deletion=share.deletion,
                deletion_schedule=share.deletion_schedule,
                clean=share.clean.value,
                clean_below_percent=share.clean_below_percent,
                ignore_patterns=share.patterns.ignore,
            )
        )
    return WorkstationAnswer(
        id=row.id,
        name=row.name,
        status=WorkstationStatus(row.status),
        shares=tuple(shares),
        session_policy=site.session_policy.of(row.name),
        site_name=site.name,
        contact=site.contact,
        webclient_url=site.omero.webclient_url,
    )
