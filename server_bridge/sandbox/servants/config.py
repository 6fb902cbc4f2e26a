"""IConfig: the settings a client asks for, answered as an OMERO 5.6 would."""

from __future__ import annotations

import re
from typing import Any

from omero.rtypes import rtime

from server_bridge.sandbox.servants.core import Call
from server_bridge.sandbox.sessions import violation
from server_bridge.sandbox.store import now_ms

# What IConfig.getVersion answers; clients compare the first two numbers with their own.
VERSION = "5.6.15-sandbox"

DEFAULTS = {
    "omero.checksum.supported": "SHA1-160, MD5-128, Murmur3-128, Murmur3-32, CRC-32, Adler-32, File-Size-64",
    "omero.fs.repo.path": "%user%_%userId%//%year%-%month%/%day%/%time%",
    "omero.fs.repo.path_rules": "Windows required, UNIX required",
    "omero.sessions.timeout": "600000",
    "omero.sessions.maximum": "0",
    "omero.threads.background_threads": "5",
    "omero.client.ui.tree.orphans.name": "Orphaned Images",
    "omero.client.ui.tree.orphans.enabled": "true",
    "omero.upgrades.url": "",
    "omero.sandbox": "true",
}


class Config:
    """omero.api.IConfig."""

    def settings(self, call: Call) -> dict[str, str]:
        ports = call.services.ports
        insecure = f"OMERO.Glacier2/router:tcp -p {ports['tcp']} -h @omero.host@"
        return DEFAULTS | {
            "omero.router.insecure": insecure,
            "omero.data.dir": str(call.services.repository.root.parent),
            "omero.managed.dir": str(call.services.repository.root),
        }

    def getVersion(self, call: Call) -> str:
        return VERSION

    def getConfigValue(self, call: Call, key: str) -> str:
        return self.settings(call).get(key, "")

    def getConfigValues(self, call: Call, pattern: str) -> dict[str, str]:
        return {key: value for key, value in self.settings(call).items() if re.match(pattern, key)}

    def getConfigDefaults(self, call: Call) -> dict[str, str]:
        return dict(DEFAULTS)

    def getClientConfigValues(self, call: Call) -> dict[str, str]:
        return {key: value for key, value in self.settings(call).items() if key.startswith("omero.client.")}

    def getClientConfigDefaults(self, call: Call) -> dict[str, str]:
        return self.getClientConfigValues(call)

    def setConfigValue(self, call: Call, key: str, value: str) -> None:
        raise violation(f"The sandbox keeps its settings: {key} cannot be set")

    def getDatabaseUuid(self, call: Call) -> str:
        return str(call.store.setting("database.uuid"))

    def getDatabaseTime(self, call: Call) -> Any:
        return rtime(now_ms())

    def getServerTime(self, call: Call) -> Any:
        return rtime(now_ms())
