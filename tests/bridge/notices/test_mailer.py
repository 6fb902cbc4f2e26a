"""Handing a mail to real servers: encrypted or not at all, and never unsure without saying so."""

from __future__ import annotations

import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

from server_bridge.config import MailConfig
from server_bridge.errors import FerryError
from server_bridge.notices import mailer
from server_bridge.sandbox.ports import free_port
from tests.bridge.notices import smtp

STAFF = "staff@example.org"


@pytest.fixture
def pem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for localhost that this process trusts."""
    path = smtp.certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", f"{path}.crt")
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "mail.pass"
    path.touch(mode=0o600)
    path.write_text(smtp.PASSWORD)
    return path


def config(port: int, security: str = "none", **more: object) -> MailConfig:
    return MailConfig.model_validate(
        {"host": "localhost", "port": port, "security": security, "sender": "ferry@example.org",
         "staff": [STAFF], **more}
    )  # fmt: skip


def mail(to: str = STAFF) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Hello", "ferry@example.org", to
    message.set_content("Zürich\n", cte="quoted-printable")
    return message


def failure(given: MailConfig, to: tuple[str, ...] = (STAFF,), **more: float) -> FerryError:
    with pytest.raises(FerryError) as caught:
        mailer.send(given, mail(), to, **more)
    assert caught.value.detail and caught.value.remedy
    return caught.value


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_over_tls_after_signing_in(pem: Path, secret: Path, security: str) -> None:
    with smtp.running(pem, sign_in=True, implicit_tls=security == "tls") as post:
        given = config(post.port, security, user=smtp.USER, password_file=secret)
        assert "signed in" in mailer.check(given)
        assert post.mails == []
        assert mailer.send(given, mail(), [STAFF]) == mailer.Delivery()
    (recipients, message), = post.mails  # fmt: skip
    assert recipients == [STAFF]
    assert message.get_content().strip() == "Zürich"
    assert post.signed_in == [smtp.USER] * 2


def test_a_wrong_password_is_said_and_never_shown(pem: Path, secret: Path) -> None:
    secret.write_text("wrong-word-of-the-site")
    with smtp.running(pem, sign_in=True) as post:
        error = failure(config(post.port, "starttls", user=smtp.USER, password_file=secret))
    assert error.code == "mail_auth_failed"
    assert "wrong-word" not in str(error) + error.detail
    assert post.mails == []


def test_nothing_goes_in_the_clear_where_the_server_offers_no_tls(secret: Path) -> None:
    with smtp.running() as post:
        error = failure(config(post.port, "starttls", user=smtp.USER, password_file=secret))
    assert error.code == "mail_not_supported"
    assert (post.mails, post.signed_in) == ([], [])


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with smtp.running(smtp.certificate(tmp_path)) as post:
        assert failure(config(post.port, "starttls")).code == "mail_tls_failed"
    assert post.mails == []


def test_a_certificate_of_another_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = smtp.certificate(tmp_path, "elsewhere.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", f"{other}.crt")
    with smtp.running(other, implicit_tls=True) as post:
        assert failure(config(post.port, "tls")).code == "mail_tls_failed"


def test_one_address_that_is_refused_does_not_keep_the_mail_from_the_others() -> None:
    with smtp.running() as post:
        post.refuse["gone@example.org"] = "550 no such user"
        done = mailer.send(config(post.port), mail(), ["gone@example.org", STAFF])
        assert set(done.refused) == {"gone@example.org"}
        assert [to for to, _ in post.mails] == [[STAFF]]
        assert failure(config(post.port), ("gone@example.org",)).code == "mail_address_refused"
        post.refuse[STAFF] = "451 try later"
        error = failure(config(post.port))
    assert isinstance(error, mailer.MailFailed)
    assert (error.code, error.of_recipient) == ("mail_failed", True)


def test_a_refused_content_is_certain_and_a_break_while_it_is_acknowledged_is_not() -> None:
    with smtp.running() as post:
        post.data_answer = "552 too much"
        assert failure(config(post.port)).code == "mail_failed"
        post.data_answer = "break off"
        assert mailer.send(config(post.port), mail(), [STAFF]).unsure


def test_no_server_is_an_outage_and_a_silent_one_ends_within_the_bound() -> None:
    assert failure(config(free_port())).code == "mail_away"
    for first in (b"", b"220-wait\r\n", b"220 hello\r\n"):
        with smtp.mute(first) as port:
            done = threading.Event()

            def ask(port: int = port, done: threading.Event = done) -> None:
                assert failure(config(port), whole_seconds=0.5).code == "mail_away"
                done.set()

            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            thread.join(60)
            assert done.is_set(), first


def test_the_settings_refuse_what_would_not_be_safe(secret: Path) -> None:
    for wrong in (
        {"security": "none", "host": "mail.example.org"},
        {"user": "ferry"},
        {"staff": []},
        {"sender": ""},
        {"staff": ["a@example.org\nBcc: all@example.org"]},
        {"sender": "Ferry <ferry@example.org>"},
    ):
        with pytest.raises(ValueError):
            MailConfig.model_validate({**config(25).model_dump(), **wrong})
    assert MailConfig().host == ""
