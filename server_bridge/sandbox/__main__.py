"""``python -m server_bridge.sandbox --data DIR``."""

from server_bridge.sandbox.command import main

main()
