"""An order's receipts against the present: what still holds, what was proven anew, what does not hold.

Every fact of every receipt is read again: OMERO's rows in a few bulk queries, the names on disk by lstat,
and the content where it was asked for or where an inode is another one than the receipt's. Findings are
committed batch by batch, so that the release of an order is withdrawn when its first bad file is found and
not hours later, when the last one was read.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from sqlalchemy import or_, select, update

from server_bridge.context import Context
from server_bridge.contract import CommandKind, CommandRequest, Condition, ReceiptStatus, Stage
from server_bridge.errors import Conflict
from server_bridge.mover.durability import sync_filesystem
from server_bridge.omero.held import Held
from server_bridge.omero.paths import client_path
from server_bridge.omero.proof import FileProblem, FileProof
from server_bridge.omero.receipts import filesets_by_id
from server_bridge.orders import commands, stages, unit_rows
from server_bridge.orders.callers import Caller
from server_bridge.orders.file_rows import FileRow
from server_bridge.orders.models import Order, OrderFile, utcnow
from server_bridge.pipeline import reproof
from server_bridge.pipeline.disks import require_disk
from server_bridge.pipeline.places import OrderPlaces, places_of
from server_bridge.pipeline.steps.proving import judge_files
from server_bridge.staging import require_staging

BATCH = 500
CONTENT_CODES = frozenset({"content_differs", "unreadable", "changed_meanwhile"})
"""Problems that only reading showed; nothing but reading may prove such a file again."""
WITHDRAWABLE = (Stage.PROVEN, Stage.RELEASED)


@dataclass
class Watch:
    """Who looks on; both are called often. Bytes are those that were read."""

    on_files: Callable[[int], None] = lambda _count: None
    on_bytes: Callable[[int], None] = lambda _count: None


@dataclass
class Findings:
    """What became of one order's receipts."""

    order_id: str
    share: str
    path: str
    stage: Stage
    """Before anything was looked at."""
    files: int = 0
    """Files that were proven once."""
    held: int = 0
    """Of these, those whose proof holds now, also by a new proof."""
    bytes_read: int = 0
    reproved: dict[str, str] = field(default_factory=dict)
    """Path → why it had to be read: its proof is a new one."""
    problems: dict[str, FileProblem] = field(default_factory=dict)
    withdrawn: bool = False
    """The order left *proven* or *released* by this."""
    resumed: bool = False
    """The order had lost its proof, everything holds again, and the pipeline goes on with it."""

    @property
    def holds(self) -> bool:
        """Every proof holds."""
        return not self.problems and self.held == self.files


def provable(stage: Stage, was_proven: bool) -> bool:
    """Whether an order has receipts that can be compared with the present."""
    return stage in stages.PROOF_STAGES or (stage is Stage.PROVING and was_proven)


def provable_ids(context: Context) -> list[str]:
    """All orders with receipts to re-check, oldest first."""
    with context.store.read() as session:
        return list(
            session.scalars(
                select(Order.id)
                .where(
                    or_(
                        Order.stage.in_(sorted(stages.PROOF_STAGES)),
                        (Order.stage == Stage.PROVING) & Order.proven_at.is_not(None),
                    )
                )
                .order_by(Order.created_at, Order.id)
            )
        )


def prove_again(
    context: Context, order_id: str, who: str, *, content: bool = False, watch: Watch | None = None
) -> Findings:
    """Re-check one order and commit what was found.

    Args:
        order_id: the whole id.
        who: for history and audit.
        content: read every file of OMERO's, not only those whose inode changed.
        watch: is told as it goes.

    Raises:
        NotFound: for an unknown order.
        Conflict: ``not_proven`` for an order that was never proven.
        Unavailable: where OMERO, ManagedRepository or staging is away: then nothing is concluded.
        OSError: where a disk fails at being looked at.
    """
    watch = watch or Watch()
    store = context.store
    order, files = store.order(order_id), store.files(order_id)
    with store.read() as rows:
        fileset_of = unit_rows.fileset_ids(rows, order_id)
    if not provable(Stage(order.stage), order.proven_at is not None):
        raise Conflict(
            f"Order {order_id} is {order.stage}.",
            code="not_proven",
            title="This order was not proven yet",
            remedy="The bridge proves it when its import has ended; see `ferry-bridge order show`.",
        )
    # While an order proves again its refuted files are pending; all files of units were proven once.
    lost = order.stage == Stage.PROVING
    members = [one for one in files if one.status == ReceiptStatus.PROVEN or (lost and one.unit is not None)]
    places = places_of(context.site, order.share, order.id)
    findings = Findings(order.id, order.share, order.path, Stage(order.stage), files=len(members))
    with context.omero.service() as session:
        held = Held.of(fileset_of, filesets_by_id(session, list(fileset_of.values())))
        managed = session.managed_repository
    require_disk(managed, "ManagedRepository")
    if any(one.freed_at is None for one in members):
        require_disk(context.site.staging_dir, "The staging folder")
        require_staging(context)

    def on_bytes(count: int) -> None:
        findings.bytes_read += count
        watch.on_bytes(count)

    for batch in _batches(members):
        proofs, problems = _look(order, batch, held, places, content, on_bytes)
        anew = {
            one.path: proofs[one.path]
            for one in batch
            if one.path in proofs and _differs(one, proofs[one.path])
        }
        findings.held += len(proofs)
        findings.problems |= problems
        findings.reproved |= _why(batch, anew)
        if anew:
            _note(context, order_id, anew, who)
        if problems:
            findings.withdrawn |= _withdraw(context, order_id, problems, who)
        watch.on_files(len(batch))
    if lost and findings.holds:
        findings.resumed = _resume(context, order_id, who)
    return findings


def _batches(members: Sequence[FileRow]) -> Iterator[Sequence[FileRow]]:
    for start in range(0, len(members), BATCH):
        yield members[start : start + BATCH]


def _look(
    order: Order,
    batch: Sequence[FileRow],
    held: Held,
    places: OrderPlaces,
    content: bool,
    on_bytes: Callable[[int], None],
) -> tuple[dict[str, FileProof], dict[str, FileProblem]]:
    """Judge a batch by names and rows; then read what names cannot settle, or everything."""
    proofs, problems = judge_files(order, batch, held, places)
    for file in batch:
        proof, problem = proofs.get(file.path), problems.get(file.path)
        if problem is not None and problem.code not in reproof.READABLE_CODES:
            continue
        if proof is not None and not content and proof.inode == file.inode:
            continue
        staged = places.staged(file.path)
        managed = held.file(file.unit, client_path(str(staged)))
        if managed is None:
            continue  # what was found says so
        found = reproof.read_again(file, staged, managed, on_bytes)
        problems.pop(file.path, None)
        if isinstance(found, FileProblem):
            proofs.pop(file.path, None)
            problems[file.path] = found
        elif proof is None or proof.inode != file.inode:
            proofs[file.path] = found
    return proofs, problems


def _differs(file: FileRow, proof: FileProof) -> bool:
    """Whether the receipt has to be written anew. A device's number changes with every mount: it is noted
    with a new inode and never a reason by itself."""
    return (proof.inode, proof.rule) != (file.inode, file.rule)


def _why(batch: Sequence[FileRow], anew: Mapping[str, FileProof]) -> dict[str, str]:
    return {
        one.path: f"inode {one.inode} became {anew[one.path].inode}"
        if one.inode != anew[one.path].inode
        else anew[one.path].rule or "the names are one again"
        for one in batch
        if one.path in anew
    }


def _note(context: Context, order_id: str, anew: Mapping[str, FileProof], who: str) -> None:
    """Commit new proofs; a file whose receipt changed meanwhile keeps what it has."""
    # Like every receipt: what it says must be on the disk first.
    sync_filesystem(Path(next(iter(anew.values())).managed_path).parent)
    now = utcnow()
    with context.store.write() as session:
        order = context.store.get(session, order_id)
        if not provable(Stage(order.stage), order.proven_at is not None):
            return
        for path, proof in anew.items():
            file = session.get(OrderFile, (order_id, path))
            if file is None or file.sha1 is None or file.sha1.lower() != proof.sha1:
                continue
            file.device, file.inode, file.rule = proof.device, proof.inode, proof.rule
            file.managed_path, file.original_file_id = proof.managed_path, proof.original_file_id
            if file.status == ReceiptStatus.PROVEN:
                file.proven_at = now
        paths = sorted(anew)
        context.store.audit(
            session, who, "order.reproved_by_hash", order_id, files=len(paths), paths=paths[:20]
        )
        context.store.event(
            session, order, who, f"{len(paths)} files were read in OMERO and proven by their SHA-1"
        )
        context.store.touch(session, order)


def _withdraw(context: Context, order_id: str, problems: Mapping[str, FileProblem], who: str) -> bool:
    """Take proof and release back, at once. Returns whether the order left *proven* or *released*.

    The pipeline then proves it again and says on the order what is wrong. It reads names and rows only, so
    what reading showed is left as a mark that makes it read, too. A retired order stays what it is (there
    is nothing on the buffer to protect): it is told and audited.
    """
    store = context.store
    first = sorted(problems)[0]
    text = f"{first}: {problems[first].title} [{problems[first].code}]"
    if len(problems) > 1:
        text += f" (and {len(problems) - 1} more files)"
    doubted = sorted(path for path, problem in problems.items() if problem.code in CONTENT_CODES)
    with store.write() as session:
        order = store.get(session, order_id)
        stage = Stage(order.stage)
        store.audit(session, who, "order.proof_lost", order_id, detail=text, files=len(problems))
        if stage not in stages.ENDS and doubted:
            session.execute(
                update(OrderFile)
                .where(OrderFile.order_id == order_id, OrderFile.path.in_(doubted))
                .values(status=ReceiptStatus.PENDING.value, proven_at=None, rule=reproof.DOUBTED)
            )
            if order.condition == Condition.RUNNING:
                # An attempt that looked before us would write its receipts over the mark: it has lost the
                # order with this number, and the next one starts from what stands here now.
                order.attempt += 1
                store.set_condition(
                    session, order, Condition.QUEUED, who=who, text="files must be read again"
                )
        if stage in WITHDRAWABLE:
            order.released_at = None
            store.set_stage(
                session, order, Stage.PROVING, stages.Cause.STAFF, who=who, text=f"proof lost: {text}"
            )
            return True
        store.event(session, order, who, f"proof lost: {text}")
        store.touch(session, order)
        return False


def _resume(context: Context, order_id: str, who: str) -> bool:
    """Let the pipeline go on with an order that stopped because of a proof that holds again."""
    with context.store.read() as session:
        order = context.store.get(session, order_id)
        if order.stage != Stage.PROVING or order.condition not in (Condition.ATTENTION, Condition.WAITING):
            return False
    request = CommandRequest(id=uuid.uuid4(), kind=CommandKind.RETRY, note="every proof holds")
    commands.give(context.store, UUID(order_id), request, Caller(username=who, is_staff=True), utcnow())
    return True
