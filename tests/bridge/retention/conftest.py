"""The pipeline's fixtures serve retention, too."""

from __future__ import annotations

from tests.bridge.pipeline.conftest import make_world, own_world, world

__all__ = ["make_world", "own_world", "world"]
