"""The report of the site's backup job: a backup of ManagedRepository has ended well."""

from __future__ import annotations

from fastapi import APIRouter

from server_bridge.api.dependencies import PartsDep, PersonDep
from server_bridge.contract import BackupAccepted, BackupReport
from server_bridge.orders import backup_stamps
from server_bridge.orders.callers import require_staff

router = APIRouter(prefix="/v1/backups", tags=["release"])


@router.post("", status_code=201)
def report(body: BackupReport, parts: PartsDep, caller: PersonDep) -> BackupAccepted:
    """Report when the backup began that has just ended well. Staff only; a repeat changes nothing."""
    require_staff(caller, "Only the platform staff report backups.")
    new = backup_stamps.record(parts.store, body.began_at, caller.who, body.note, parts.now())
    return BackupAccepted(covers_until=body.began_at, is_new=new)
