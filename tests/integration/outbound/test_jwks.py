"""One look at a key set: bounded in the whole of its time, past interim answers, by the system's trust."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from app.outbound import jwks
from tests.integration.api.test_keys import RSA, listing
from tests.integration.outbound.sockets import a_certificate

LIST = listing(one=RSA)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LIST)


@contextmanager
def speaking(say: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Let a server say what no HTTP server would, to one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                opened, _ = listener.accept()
                with tls.wrap_socket(opened, server_side=True) if tls else opened as talking:
                    talking.recv(4096)
                    say(talking)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}/keys"
    thread.join(10)


def slowly(content: bytes) -> Callable[[socket.socket], None]:
    def say(opened: socket.socket) -> None:
        for byte in content:
            opened.sendall(bytes([byte]))
            threading.Event().wait(0.05)

    return say


@pytest.mark.parametrize(
    "content", [HEAD + LIST, b"HTTP/1.1 200 OK\r\n" + b"X-Header: x\r\n" * 1_000], ids=["body", "head"]
)
def test_an_issuer_that_drips_is_cut_off_when_the_whole_time_is_up(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(jwks, "TOTAL_TIMEOUT", timedelta(seconds=0.5))
    started = time.monotonic()

    with speaking(slowly(content)) as url, pytest.raises(jwks.KeysUnavailable, match=r"within 0\.5 s") as raised:
        jwks.fetch_key_set(url)

    assert time.monotonic() - started < 5
    assert not isinstance(raised.value, jwks.KeysMisconfigured)


CUT = {
    "in the list": HEAD + LIST[:-20],
    "before the list": HEAD,
    "at once": b"",
    "in the head": b"HTTP/1.1 20",
    "by TLS": b"\x16\x03\x01",
}


@pytest.mark.parametrize("content", CUT.values(), ids=CUT)
def test_what_is_cut_is_an_outage_and_no_mistake_of_ours(content: bytes) -> None:
    with speaking(lambda opened: opened.sendall(content)) as url, pytest.raises(jwks.KeysUnavailable) as raised:
        jwks.fetch_key_set(url)

    assert not isinstance(raised.value, jwks.KeysMisconfigured)


def test_interim_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    with speaking(lambda opened: opened.sendall(early * 2 + HEAD + LIST)) as url:
        found = jwks.fetch_key_set(url)

    assert [key.kid for key in found.keys] == ["one"]


def test_no_more_is_read_than_a_key_set_can_have() -> None:
    def endless(opened: socket.socket) -> None:
        opened.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                opened.sendall(b" " * 65_536)

    with speaking(endless) as url, pytest.raises(jwks.KeysMisconfigured, match="more than 256 KiB"):
        jwks.fetch_key_set(url)


def test_the_systems_store_of_authorities_decides_whom_to_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate = a_certificate(tmp_path)

    def say(opened: socket.socket) -> None:
        opened.sendall(HEAD + LIST)

    with (
        speaking(say, tls=certificate.server) as url,
        pytest.raises(jwks.KeysMisconfigured, match="certificate is not trusted"),
    ):
        jwks.fetch_key_set(url)

    # An authority that an operator adds to the system's store.
    monkeypatch.setenv("SSL_CERT_FILE", certificate.ca_file)
    with speaking(say, tls=certificate.server) as url:
        assert [key.kid for key in jwks.fetch_key_set(url).keys] == ["one"]


@pytest.mark.parametrize("part", ["handshake", "body"])
def test_an_issuer_that_hangs_in_the_middle_of_tls_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    certificate = a_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", certificate.ca_file)
    monkeypatch.setattr(jwks, "TOTAL_TIMEOUT", timedelta(seconds=0.5))
    # Silent until the other side goes, or a byte at a time.
    say, tls = (slowly(HEAD + LIST), certificate.server) if part == "body" else (lambda opened: opened.recv(9), None)

    with (
        speaking(say, tls=tls) as url,
        pytest.raises(jwks.KeysUnavailable, match=r"within 0\.5 s"),
    ):
        jwks.fetch_key_set(url.replace("http:", "https:"))
