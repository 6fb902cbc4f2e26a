"""Random keys and how they are kept: the bridge stores SHA-256 of what a caller shows, never the thing
itself.

Keys are random with 256 bits, so a fast hash is right: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new_token() -> str:
    """A bearer token of 256 random bits."""
    return secrets.token_urlsafe(32)


def new_grant_key() -> str:
    """A key of 256 random bits, as 64 hexadecimal digits."""
    return secrets.token_hex(32)


def digest(secret: str) -> str:
    """SHA-256 as stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))
