"""Numbered schema revisions, applied by :func:`server_bridge.orders.migrating.migrate`."""
