"""The importer's connection: joins the session it was given and keeps hold of the services it needs."""

from __future__ import annotations

from typing import Any

import omero
import omero.clients
import omero.grid

from server_bridge.sandbox.importer import output
from server_bridge.sandbox.importer.options import ImportOptions


class Connection:
    """A joined session; data goes over the plain port, as with the original."""

    def __init__(self, options: ImportOptions) -> None:
        secure = omero.client(str(options.host), int(options.port or 4064))
        secure.setAgent(f"OMERO.{options.agent}")
        secure.joinSession(options.session)
        output.log("INFO", output.LIBRARY, "Insecure connection requested, falling back")
        self.client = secure.createClient(False)
        secure.closeSession()
        factory = self.client.getSession()
        self.query = factory.getQueryService()
        self.update = factory.getUpdateService()
        self.metadata = factory.getMetadataService()
        self.version = factory.getConfigService().getVersion()
        self.repository = self._managed(factory.sharedResources().repositories())
        self.client.enableKeepAlive(300)

    @staticmethod
    def _managed(found: Any) -> Any:
        for proxy in found.proxies:
            managed = omero.grid.ManagedRepositoryPrx.checkedCast(proxy) if proxy is not None else None
            if managed is not None:
                return managed
        raise RuntimeError("the server has no managed repository")

    def reading(self) -> dict[str, str]:
        """A call context that opens files for reading only."""
        context: dict[str, str] = dict(self.client.getImplicitContext().getContext())
        context["omero.fs.mode"] = "r"
        return context

    def close(self) -> None:
        self.client.closeSession()
