"""What the stand-in ``java`` starts."""

from server_bridge.sandbox.importer.command import run

run()
