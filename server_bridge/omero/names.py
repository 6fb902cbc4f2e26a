"""Names of ours that stand in OMERO's database: never change them, they are looked for later."""

from __future__ import annotations

NS_ORDER = "omero-ferry/order"
"""Namespace of the comment that carries the order's id, on what an order created or imported."""
NS_PROVENANCE = "omero-ferry/provenance"
"""Namespace of the map annotation that says where images came from."""
