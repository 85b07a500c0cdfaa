"""HTTPS: whom we trust, and limits that hold under encryption too."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from app import otel_sdk
from app.domain.retry import VERDICT_AND_TEXT_BY_FAILURE, AttemptFailure, RetryVerdict
from app.outbound import jwks, webhook
from tests.integration.outbound.sockets import (
    Certificate,
    Peer,
    a_certificate,
    a_target,
    dripping,
    listening,
    post,
    saying,
    silent,
)
from tests.integration.outbound.test_jwks import HEAD, LIST
from tests.project import do_without

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SOON = timedelta(seconds=2)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate of the external service's private authority."""
    return a_certificate(tmp_path_factory.mktemp("certificate"))


def test_a_certificate_of_the_given_authority_is_verified(certificate: Certificate) -> None:
    with listening(saying(OK), tls=certificate.server) as address:
        outcome = post(f"https://{address}/", ca_file=certificate.ca_file)

    assert outcome.verdict is RetryVerdict.DONE


def test_a_certificate_that_nobody_vouches_for_is_final(certificate: Certificate) -> None:
    with listening(saying(OK), tls=certificate.server) as address:
        outcome = post(f"https://{address}/")

    assert (outcome.verdict, outcome.error) == VERDICT_AND_TEXT_BY_FAILURE[AttemptFailure.TLS]


def test_a_certificate_of_another_host_is_final(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path, address="127.0.0.9")
    with listening(saying(OK), tls=certificate.server) as address:
        outcome = post(f"https://{address}/", ca_file=certificate.ca_file)

    assert (outcome.verdict, outcome.error) == VERDICT_AND_TEXT_BY_FAILURE[AttemptFailure.TLS]


def test_a_certificate_that_has_expired_is_final(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path, days=0)
    with listening(saying(OK), tls=certificate.server) as address:
        outcome = post(f"https://{address}/", ca_file=certificate.ca_file)

    assert (outcome.verdict, outcome.error) == VERDICT_AND_TEXT_BY_FAILURE[AttemptFailure.TLS]


@pytest.fixture(params=["SSL_CERT_FILE", "SSL_CERT_DIR"])
def system_store(
    request: pytest.FixtureRequest, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system whose store has the authority: OpenSSL's names of it lead to one of the test's own."""
    if request.param == "SSL_CERT_FILE":
        monkeypatch.setenv(request.param, certificate.ca_file)
        return
    shutil.copy(certificate.ca_file, tmp_path)
    if (openssl := shutil.which("openssl")) is None:
        do_without("no openssl, which names the files of a directory as they are looked for")
    subprocess.run([openssl, "rehash", str(tmp_path)], check=True)
    monkeypatch.setenv(request.param, str(tmp_path))


@pytest.mark.usefixtures("system_store")
def test_an_authority_of_the_systems_store_is_trusted_by_post_doctor_and_token_keys_alike(
    certificate: Certificate,
) -> None:
    with listening(saying(HEAD + LIST), tls=certificate.server) as address:
        posted = post(f"https://{address}/")
        reached = webhook.test_connection(a_target(f"https://{address}/"))
        fetched = jwks.fetch_key_set(f"https://{address}/")

    assert (posted.verdict, reached) == (RetryVerdict.DONE, None)
    assert len(fetched.keys) == 1


def exported(address: str, monkeypatch: pytest.MonkeyPatch) -> SpanExportResult:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://{address}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    exporter = otel_sdk.create_span_exporter()
    try:
        return exporter.export([])
    finally:
        exporter.shutdown()


@pytest.mark.usefixtures("system_store")
def test_the_exporter_of_traces_trusts_the_systems_store_too(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(saying(OK), tls=certificate.server) as address:
        assert exported(address, monkeypatch) is SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", SpanExportResult.SUCCESS),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", SpanExportResult.SUCCESS),
        ("REQUESTS_CA_BUNDLE", SpanExportResult.FAILURE),
        (None, SpanExportResult.FAILURE),
    ],
)
def test_or_the_file_that_its_own_setting_names(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, name: str | None, result: SpanExportResult
) -> None:
    if name is not None:
        monkeypatch.setenv(name, certificate.ca_file)
    with listening(saying(OK), tls=certificate.server) as address:
        assert exported(address, monkeypatch) is result


@pytest.mark.usefixtures("system_store")
def test_a_file_of_authorities_takes_the_systems_place(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> None:
    another = a_certificate(tmp_path_factory.mktemp("another"))
    with listening(saying(OK), tls=certificate.server) as address:
        posted = post(f"https://{address}/", ca_file=another.ca_file)
        reached = webhook.test_connection(a_target(f"https://{address}/", ca_file=another.ca_file))

    assert (posted.verdict, posted.error) == VERDICT_AND_TEXT_BY_FAILURE[AttemptFailure.TLS]
    assert reached is AttemptFailure.TLS


def test_what_post_does_not_trust_doctor_does_not_either(certificate: Certificate) -> None:
    with listening(saying(OK), tls=certificate.server) as address:
        assert webhook.test_connection(a_target(f"https://{address}/")) is AttemptFailure.TLS


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_of_the_environment_is_not_trusted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, certificate.ca_file)
    with listening(saying(OK), tls=certificate.server) as address:
        outcome = post(f"https://{address}/")

    assert (outcome.verdict, outcome.error) == VERDICT_AND_TEXT_BY_FAILURE[AttemptFailure.TLS]


def test_nothing_is_sent_to_whom_we_do_not_trust(certificate: Certificate) -> None:
    heard: list[bytes] = []
    with listening(lambda connection, _: heard.append(connection.recv(65536)), tls=certificate.server) as address:
        post(f"https://{address}/")

    assert b"".join(heard) == b""


def test_a_peer_that_never_answers_the_handshake_is_given_up_in_time() -> None:
    with listening(silent) as address:
        outcome = post(f"https://{address}/")

    assert outcome.verdict is RetryVerdict.RETRY
    assert outcome.duration < SOON


def test_a_peer_that_speaks_no_tls_is_tried_again() -> None:
    with listening(saying(OK)) as address:
        outcome = post(f"https://{address}/")

    assert outcome.verdict is RetryVerdict.RETRY
    assert outcome.error


@pytest.mark.parametrize(
    "peer",
    [
        dripping(b"", b"HTTP/1.1 200 OK\r\n"),
        dripping(b"HTTP/1.1 103 Early Hints\r\n", b"X: y\r\n" * 3),
    ],
    ids=["the status line", "the headers of an interim answer"],
)
def test_a_receiver_that_drips_is_cut_off_at_the_total_limit_under_tls_too(
    certificate: Certificate, peer: Peer
) -> None:
    with listening(peer, tls=certificate.server) as address:
        outcome = post(f"https://{address}/", ca_file=certificate.ca_file)

    assert (outcome.verdict, outcome.error) == VERDICT_AND_TEXT_BY_FAILURE[AttemptFailure.TOTAL_TIMEOUT]
    assert outcome.duration < SOON
