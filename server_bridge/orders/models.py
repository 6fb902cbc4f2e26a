"""The bridge's tables. The orders table alone is the truth: the engine's tables may vanish, these may not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every database; a naive one is a programming error."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC without a zone."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone reached the database")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Hand UTC back."""
        del dialect
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class FeedCounter(Base):
    """One row. Every change of an order takes the next value inside its own transaction, so that the feed's
    cursor grows in commit order; the row also serialises writers where the database allows several."""

    __tablename__ = "feed_counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class Workstation(Base):
    __tablename__ = "workstations"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    key_digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the key (random, 32 characters or more: no slow hash is needed)."""
    status: Mapped[str] = mapped_column(String(16))
    roots: Mapped[dict[str, Any]]
    """Share id → root below that share's top (``.`` is the top)."""
    hostname: Mapped[str] = mapped_column(String(255), default="")
    agent_version: Mapped[str] = mapped_column(String(64), default="")
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]
    heartbeat: Mapped[dict[str, Any] | None]
    """The last heartbeat as it was sent."""


class PersonSession(Base):
    __tablename__ = "person_sessions"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    username: Mapped[str] = mapped_column(String(255), index=True)
    person: Mapped[dict[str, Any]]
    token_digest: Mapped[str] = mapped_column(String(64), unique=True)
    grant_key: Mapped[str] = mapped_column(String(64))
    workstation_id: Mapped[str | None] = mapped_column(ForeignKey("workstations.id"))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """Sign-out: the token is dead, the grants live on until they expire."""
    grants_expire_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    """Staff's or OMERO's word: token and grants are dead."""


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    person: Mapped[str] = mapped_column(String(255), index=True)
    """OMERO user name of whose data it is: the import runs as this person."""
    ordered_by: Mapped[str] = mapped_column(String(255))
    workstation_id: Mapped[str | None] = mapped_column(ForeignKey("workstations.id"))
    share: Mapped[str] = mapped_column(String(63))
    path: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(8))
    members: Mapped[list[Any]] = mapped_column(default=list)
    """Of a group: the patterns of its members, see contract.OrderIntent. Empty for a file or a folder."""
    label: Mapped[str] = mapped_column(String(255), default="")
    first_seen_at: Mapped[datetime | None]
    target: Mapped[dict[str, Any]]
    """contract.Target as JSON; ``container_id``/``project_id`` are filled in when made."""
    import_again: Mapped[bool] = mapped_column(Boolean, default=False)
    request_digest: Mapped[str] = mapped_column(String(64))
    stage: Mapped[str] = mapped_column(String(16))
    condition: Mapped[str] = mapped_column(String(16))
    reason: Mapped[dict[str, Any] | None]
    """contract.Reason as JSON."""
    stage_since: Mapped[datetime]
    next_try_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    """Number of the attempt that may write; every write of an attempt carries it (fencing)."""
    idle_tries: Mapped[int] = mapped_column(Integer, default=0)
    revision: Mapped[int] = mapped_column(Integer, default=1)
    change: Mapped[int] = mapped_column(BigInteger, index=True)
    manifest_revision: Mapped[int] = mapped_column(Integer, default=0)
    manifest_digest: Mapped[str] = mapped_column(String(64), default="")
    sealed: Mapped[bool] = mapped_column(Boolean, default=False)
    file_count: Mapped[int] = mapped_column(Integer, default=0)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    asks_left_out: Mapped[bool] = mapped_column(Boolean, default=False)
    seal: Mapped[str] = mapped_column(String(8), default="agent")
    """Who judges the acquisition finished: ``agent``, or ``bridge`` (by two equal listings) where none is."""
    listing_digest: Mapped[str] = mapped_column(String(64), default="")
    """Of the bridge's own last listing, for an order that the bridge seals."""
    listed_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    """contract.OrderResult as JSON."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    proven_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]
    freed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_orders_place", "share", "path"),
        Index("ix_orders_due", "stage", "condition", "next_try_at"),
    )


class OrderFile(Base):
    """One file of an order's manifest, and what became of it."""

    __tablename__ = "order_files"
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    """Relative to the share's top."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    """As the agent saw it."""
    source_mtime_s: Mapped[int | None] = mapped_column(BigInteger)
    """As the bridge's baseline listing saw it; from then on bridge view is compared with bridge view only."""
    sha1: Mapped[str | None] = mapped_column(String(40))
    """Whole-file SHA-1 that rsync computed while reading the buffer; None: not pulled, or digest lost."""
    staged_at: Mapped[datetime | None]
    """Confirmed by lstat, and its filesystem synced before this was committed."""
    unit: Mapped[int | None] = mapped_column(Integer)
    """Index of the import unit it belongs to."""
    status: Mapped[str] = mapped_column(String(16), default="pending")
    """contract.ReceiptStatus."""
    rule: Mapped[str] = mapped_column(String(255), default="")
    """The pattern or the named acceptance that covers a file outside OMERO."""
    fileset_id: Mapped[int | None] = mapped_column(BigInteger)
    original_file_id: Mapped[int | None] = mapped_column(BigInteger)
    omero_sha1: Mapped[str | None] = mapped_column(String(40))
    managed_path: Mapped[str | None] = mapped_column(Text)
    device: Mapped[int | None] = mapped_column(BigInteger)
    inode: Mapped[int | None] = mapped_column(BigInteger)
    proven_at: Mapped[datetime | None]
    freed_at: Mapped[datetime | None]


class ImportUnit(Base):
    """A group of files that Bio-Formats imports together, as `omero import -f` reported it."""

    __tablename__ = "import_units"
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    main_path: Mapped[str] = mapped_column(Text)
    """The unit's first file, relative to the share's top."""
    reader: Mapped[str] = mapped_column(String(255), default="")
    spw: Mapped[bool] = mapped_column(Boolean, default=False)
    file_count: Mapped[int] = mapped_column(Integer)
    client_path: Mapped[str] = mapped_column(Text)
    """How OMERO will know the main file (absolute, without leading slash, sanitised)."""
    state: Mapped[str] = mapped_column(String(16), default="pending")
    """``pending``, ``importing`` or ``imported``."""
    tries: Mapped[int] = mapped_column(Integer, default=0)
    fileset_id: Mapped[int | None] = mapped_column(BigInteger)
    image_ids: Mapped[list[Any]]
    plate_ids: Mapped[list[Any]]
    error: Mapped[dict[str, Any] | None]
    """contract.Reason of the last failure."""


class OrderProgress(Base):
    """One overwritten row per order, outside history and outside the order's revision."""

    __tablename__ = "order_progress"
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    progress: Mapped[dict[str, Any]]
    """contract.Progress as JSON."""
    at: Mapped[datetime]


class OrderEvent(Base):
    """The order's history: what happened when, in the words that were shown."""

    __tablename__ = "order_events"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(255))
    stage: Mapped[str] = mapped_column(String(16))
    condition: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    reason: Mapped[dict[str, Any] | None]


class OrderCommand(Base):
    """A command, by its own UUID: a repeat gets the first answer."""

    __tablename__ = "order_commands"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    request_digest: Mapped[str] = mapped_column(String(64))
    by: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime]
    result: Mapped[dict[str, Any]]


class AuditEntry(Base):
    """Append-only: who did what to what."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(index=True)
    who: Mapped[str] = mapped_column(String(255))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]]


class Notice(Base):
    """Something that somebody should hear about without looking: what the next mail to her will say."""

    __tablename__ = "notices"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String(255), unique=True)
    """What it is about, so that one thing is told once, however often it is found."""
    kind: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(index=True)
    order_id: Mapped[str | None] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    person: Mapped[str] = mapped_column(String(255), default="")
    """OMERO user name of whom it concerns; empty: staff alone."""
    for_staff: Mapped[bool] = mapped_column(Boolean, default=True)
    reason: Mapped[dict[str, Any]]
    """contract.Reason as JSON: the words of the card are the words of the mail."""
    withdrawn_at: Mapped[datetime | None]
    """It is no longer so: what was not mailed by then is not mailed any more."""
    mailed_person_at: Mapped[datetime | None]
    mailed_staff_at: Mapped[datetime | None]


class BackupStamp(Base):
    """The site's word that a backup of ManagedRepository ended well."""

    __tablename__ = "backup_stamps"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    covers_until: Mapped[datetime] = mapped_column(index=True)
    """When that backup *began*: what was in OMERO before is in it."""
    reported_at: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(255))
    note: Mapped[str] = mapped_column(Text, default="")


class QuarantinedFile(Base):
    """A staged file that was moved out of its order's directory, and what became of it."""

    __tablename__ = "quarantined_files"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    order_id: Mapped[str] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    path: Mapped[str] = mapped_column(Text)
    """Relative to the share's top."""
    quarantine_path: Mapped[str] = mapped_column(Text)
    """Absolute."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    why: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime]
    keep_until: Mapped[datetime | None]
    """None: for ever, until staff decide."""
    unlinked_at: Mapped[datetime | None]


class SiteFact(Base):
    """One thing the bridge remembers about its surroundings, such as the highest fileset id it ever saw."""

    __tablename__ = "site_facts"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[dict[str, Any]]
    at: Mapped[datetime]
