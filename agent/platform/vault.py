"""The system's credential store through `keyring`, and what stands in where there is none.

A back-end that writes secrets to a plain file, or that drops them, is refused: then secrets live in memory
until the agent ends, and the person is told that she will have to sign in again.
"""

from __future__ import annotations

import logging
import os
import sys

import keyring
import keyring.backend
import keyring.errors

from agent.platform.base import SERVICE, Vault

log = logging.getLogger(__name__)
LONGEST_SECRET = 1280
"""In UTF-16 units. Windows: a blob of 2560 bytes, and keyring writes UTF-16."""
_REFUSED = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")
NO_STORE = "This machine has no safe place for secrets: after a restart you sign in again."


class MemoryVault:
    """Secrets of this process only."""

    persistent = False

    def __init__(self, notice: str = NO_STORE) -> None:
        self.notice = notice
        self._secrets: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """Return the secret, or None."""
        return self._secrets.get(name)

    def set(self, name: str, secret: str) -> None:
        """Keep a secret until the process ends."""
        self._secrets[name] = secret

    def delete(self, name: str) -> None:
        """Forget a secret."""
        self._secrets.pop(name, None)


class KeyringVault:
    """Secrets in the system's store. One that fails in mid-use (locked, gone) is replaced by memory."""

    def __init__(self, backend: keyring.backend.KeyringBackend) -> None:
        self._backend = backend
        self._memory: MemoryVault | None = None

    @property
    def persistent(self) -> bool:
        """False once the store failed."""
        return self._memory is None

    @property
    def notice(self) -> str:
        """Why it is not persistent."""
        return self._memory.notice if self._memory else ""

    def _failed(self, error: Exception) -> MemoryVault:
        # The text of a keyring error names the back-end's call, never the secret.
        log.warning("the credential store failed: %s", type(error).__name__)
        self._memory = self._memory or MemoryVault()
        return self._memory

    def get(self, name: str) -> str | None:
        """Return the secret, or None."""
        if self._memory is not None:
            return self._memory.get(name)
        try:
            return self._backend.get_password(SERVICE, name)
        except (keyring.errors.KeyringError, OSError) as error:
            return self._failed(error).get(name)

    def set(self, name: str, secret: str) -> None:
        """Keep a secret.

        Raises:
            ValueError: where it is longer than any Windows vault takes.
        """
        units = len(secret.encode("utf-16-le")) // 2
        if units > LONGEST_SECRET:
            raise ValueError(f"a secret of {units} characters does not fit into the Windows vault")
        if self._memory is not None:
            self._memory.set(name, secret)
            return
        try:
            self._backend.set_password(SERVICE, name, secret)
        except (keyring.errors.KeyringError, OSError) as error:
            self._failed(error).set(name, secret)

    def delete(self, name: str) -> None:
        """Forget a secret; one that is not there is fine."""
        if self._memory is not None:
            self._memory.delete(name)
            return
        try:
            self._backend.delete_password(SERVICE, name)
        except keyring.errors.PasswordDeleteError:
            log.debug("nothing to forget under %s", name)
        except (keyring.errors.KeyringError, OSError) as error:
            self._failed(error).delete(name)


def _may_have_store() -> bool:
    """Whether it is worth looking: on Linux every store is behind the session's D-Bus, and looking for them
    costs 8 MB (`cryptography`)."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DBUS_SESSION_BUS_ADDRESS") or os.environ.get("PYTHON_KEYRING_BACKEND"))


def choose(backend: keyring.backend.KeyringBackend | None = None) -> Vault:
    """Return the system's store where it keeps secrets safely, memory otherwise."""
    if backend is None and not _may_have_store():
        return MemoryVault()
    try:
        found = backend if backend is not None else keyring.get_keyring()
    except (keyring.errors.KeyringError, RuntimeError, OSError) as error:
        log.warning("no credential store: %s", type(error).__name__)
        return MemoryVault()
    if type(found).__module__.startswith(_REFUSED) or found.priority <= 0:
        return MemoryVault()
    if hasattr(found, "persist"):
        # WinVault's default, "enterprise", roams with the profile: our token belongs to this machine.
        found.persist = "local machine"
    return KeyringVault(found)
