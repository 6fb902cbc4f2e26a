"""OMERO lets the service account in, with the privilege it needs and no other, and hard links reach its
data."""

from __future__ import annotations

from collections.abc import Iterator

from server_bridge.config import SiteConfig
from server_bridge.errors import ConfigurationError
from server_bridge.operations.check_config import Line, attempt, trial_link

NEEDED = "Sudo"


def check(site: SiteConfig) -> Iterator[Line]:
    """The checks that need OMERO; when it is away each says so."""
    yield attempt("omero", lambda: login(site))
    yield attempt("managed_repository", lambda: link(site))


def login(site: SiteConfig) -> str:
    """Log in as the service account.

    Raises:
        FerryError: as OMERO answers.
        ConfigurationError: where the account lacks ``Sudo``, or has more.
    """
    from server_bridge.omero.connection import Omero

    with Omero(site.omero).service() as session:
        privileges = {str(name) for name in session.event_context().adminPrivileges or ()}
    return judge_privileges(site.omero.user, privileges)


def judge_privileges(user: str, privileges: set[str]) -> str:
    """Judge the account's privileges.

    Raises:
        ConfigurationError: where ``Sudo`` is missing, or others are there: what the account may do, whoever
        steals its password may do.
    """
    if NEEDED not in privileges:
        raise ConfigurationError(
            f"{user} has {', '.join(sorted(privileges)) or 'no privilege'}.",
            title="The service account lacks the privilege Sudo",
            remedy=f"In OMERO.web's admin, make {user!r} a restricted administrator with Sudo only.",
        )
    more = privileges - {NEEDED}
    if more:
        raise ConfigurationError(
            f"{user} also has {', '.join(sorted(more))}.",
            title="The service account may do more than it needs",
            remedy="Take every privilege but Sudo from it.",
        )
    return f"{user} is let in, with {NEEDED} alone"


def link(site: SiteConfig) -> str:
    """Make the trial hard link into ManagedRepository, where OMERO or the site says it is."""
    managed = site.omero.managed_repository
    if managed is None:
        from server_bridge.omero.connection import Omero

        with Omero(site.omero).service() as session:
            managed = session.managed_repository
    return trial_link(site.staging_dir, managed)
