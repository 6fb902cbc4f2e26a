"""An error of the bridge's own disks is told by what must be done about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from server_bridge.pipeline.backoff import Failure, classify
from server_bridge.pipeline.disk_faults import of_os_error

STAGING = Path("/mnt/omero/staging")
STAGED, STATE = f"{STAGING}/conf/order/x.tif", "/var/lib/omero-ferry/orders/1/2-scan.log"


@pytest.mark.parametrize(
    ("number", "name", "code", "failure"),
    [
        (errno.ENOSPC, STAGED, "staging_full", Failure.OUTAGE),
        (errno.EDQUOT, str(STAGING), "staging_full", Failure.OUTAGE),
        (errno.ENOSPC, STATE, "disk_full", Failure.OUTAGE),
        (errno.ENOSPC, None, "disk_full", Failure.OUTAGE),
        (errno.ENOSPC, f"{STAGING}-old/x", "disk_full", Failure.OUTAGE),
        (errno.EROFS, STAGED, "staging_read_only", Failure.OUTAGE),
        (errno.EROFS, STATE, "disk_read_only", Failure.OUTAGE),
        (errno.EIO, STAGED, "disk_failed", Failure.PASSING),
        (errno.EACCES, STAGED, "disk_failed", Failure.PASSING),
    ],
)
def test_each_error_has_its_code_and_its_class(
    number: int, name: str | None, code: str, failure: Failure
) -> None:
    found = of_os_error(OSError(number, os.strerror(number), name), STAGING)
    assert (found.code, classify(found)) == (code, failure)
    assert os.strerror(number) in found.detail
    assert found.title and found.remedy
