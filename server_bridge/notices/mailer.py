"""One mail through the site's SMTP server, with every way it can fail told apart.

What matters is whether the server may have taken the mail: a failure before the message was handed over is
certain and may be tried again, a connection that breaks while the server acknowledges it is not
(:attr:`Delivery.unsure`). Nothing goes in the clear but to this machine; everything ends within a bound, also
with a server that sends one byte a minute.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage

from server_bridge.config import MailConfig, read_secret
from server_bridge.errors import FerryError, TransientFailure
from server_bridge.human import plain

CALL_SECONDS = 20.0
WHOLE_SECONDS = 120.0
_CHECK = "Check [mail] with `ferry-bridge check-config`, then `ferry-bridge mail-test ADDRESS`."


class MailFailed(TransientFailure):
    """The server did not take the mail, for certain. ``of_recipient``: others may still be mailed."""

    code = "mail_failed"
    title = "The mail server did not take a mail"

    def __init__(self, detail: str, *, of_recipient: bool = False, code: str = "", title: str = "") -> None:
        super().__init__(detail, code=code, title=title, remedy=_CHECK)
        self.of_recipient = of_recipient


class AddressRefused(MailFailed):
    """The server will never take mail for any of these addresses."""

    code = "mail_address_refused"
    title = "The mail server knows no such address"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a mail that was handed over."""

    unsure: bool = False
    """The connection broke before the server said that it has it: it may, or may not."""
    refused: dict[str, str] = field(default_factory=dict)
    """Addresses that did not get it, and the server's words; others did."""


def send(
    config: MailConfig,
    message: EmailMessage,
    recipients: Sequence[str],
    *,
    whole_seconds: float = WHOLE_SECONDS,
) -> Delivery:
    """Hand one mail over.

    Raises:
        MailFailed, AddressRefused: the server does not have it.
        ConfigurationError: for a password file that cannot be used.
    """
    data = message.as_bytes()
    with _connected(config, whole_seconds) as smtp:
        code, said = _stated(smtp.mail, config.sender)
        if code != 250:
            raise MailFailed(f"Sender {config.sender}: {_words(code, said)}")
        refused: dict[str, str] = {}
        codes = []
        for address in recipients:
            code, said = _stated(smtp.rcpt, address)
            codes.append(code)
            if code not in (250, 251):
                refused[address] = _words(code, said)
        if len(refused) == len(recipients):
            words = "; ".join(f"{address}: {why}" for address, why in refused.items())
            for_good = all(500 <= code < 600 for code in codes)
            raise (
                AddressRefused(words, of_recipient=True) if for_good else MailFailed(words, of_recipient=True)
            )
        try:
            code, said = smtp.data(data)
        except smtplib.SMTPDataError as error:
            raise MailFailed(_words(error.smtp_code, error.smtp_error), of_recipient=True) from None
        except (smtplib.SMTPException, OSError):
            return Delivery(unsure=True, refused=refused)
        if code != 250:
            raise MailFailed(_words(code, said), of_recipient=True)
        return Delivery(refused=refused)


def check(config: MailConfig) -> str:
    """Connect, encrypt and sign in as for a mail, and send none.

    Raises:
        MailFailed: with the server's words.
        ConfigurationError: for a password file that cannot be used.
    """
    with _connected(config, WHOLE_SECONDS) as smtp:
        _stated(smtp.noop)
    signed_in = f", signed in as {config.user}" if config.user else ""
    return f"{config.host}:{config.port} answers, {config.security}{signed_in}"


@contextmanager
def _connected(config: MailConfig, whole_seconds: float) -> Iterator[smtplib.SMTP]:
    """A connection that is encrypted and signed in as the site says."""
    password = read_secret(config.password_file) if config.password_file else ""
    context = ssl.create_default_context()
    smtp = (
        smtplib.SMTP_SSL(timeout=CALL_SECONDS, context=context)
        if config.security == "tls"
        else smtplib.SMTP(timeout=CALL_SECONDS)
    )
    with ExitStack() as stack:
        stack.callback(smtp.close)
        stack.enter_context(_bounded(smtp, whole_seconds))
        try:
            # smtplib takes the name for the certificate from here when it is not given one at once.
            smtp._host = config.host  # type: ignore[attr-defined]
            code, said = smtp.connect(config.host, config.port)
            if code != 220:
                raise MailFailed(_words(code, said))
            smtp.ehlo_or_helo_if_needed()
            if config.security == "starttls":
                smtp.starttls(context=context)
                smtp.ehlo()
            if config.user:
                smtp.login(config.user, password)
        except smtplib.SMTPAuthenticationError as error:
            raise MailFailed(
                _words(error.smtp_code, error.smtp_error),
                code="mail_auth_failed",
                title="The mail server does not accept user and password",
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise MailFailed(
                f"{plain(str(error))} Nothing was sent in the clear.",
                code="mail_not_supported",
                title="The mail server does not offer what [mail] asks for",
            ) from None
        except ssl.SSLError as error:
            raise MailFailed(
                plain(str(error)), code="mail_tls_failed", title="The mail server's certificate is not good"
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise _away(config, error) from None
        yield smtp
        try:
            smtp.quit()
        except (smtplib.SMTPException, OSError):
            return  # what was to be said is said


@contextmanager
def _bounded(smtp: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Cut the connection after ``seconds``, whatever is going on in it."""

    def cut() -> None:
        if smtp.sock is not None:
            try:
                smtp.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it ended by itself at this moment

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _stated(call: object, *given: str) -> tuple[int, bytes]:
    """One SMTP command before the message was handed over: whatever breaks now is a certain failure."""
    try:
        code, said = call(*given)  # type: ignore[operator]
    except (smtplib.SMTPException, OSError) as error:
        raise MailFailed(plain(f"{type(error).__name__}: {error}")) from None
    return int(code), said


def _away(config: MailConfig, error: Exception) -> FerryError:
    said = plain(f"{type(error).__name__}: {error}")[:300]
    return MailFailed(
        f"{config.host}:{config.port}: {said}", code="mail_away", title="The mail server cannot be reached"
    )


def _words(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return plain(f"{code} {' '.join(text.split())}")[:300]
