"""One look at a key set: bounded in the whole of its time, past interim answers, by the system's trust."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest

from app.outbound import key_set
from tests.integration.api.test_keys import RSA, listing

LIST = listing(one=RSA)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LIST)


@contextmanager
def speaking(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """Let a server say what no HTTP server would, to one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                opened, _ = listener.accept()
                with opened:
                    opened.recv(4096)
                    say(opened)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
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
    monkeypatch.setattr(key_set, "WHOLE", timedelta(seconds=0.5))
    started = time.monotonic()

    with speaking(slowly(content)) as url, pytest.raises(key_set.KeysUnavailable, match=r"within 0\.5 s") as raised:
        key_set.fetch(url)

    assert time.monotonic() - started < 5
    assert not isinstance(raised.value, key_set.KeysMisconfigured)


@pytest.mark.parametrize("content", [HEAD + LIST[:-20], HEAD, b"", b"HTTP/1.1 20", b"\x16\x03\x01"], ids=str)
def test_what_is_cut_is_an_outage_and_no_mistake_of_ours(content: bytes) -> None:
    with speaking(lambda opened: opened.sendall(content)) as url, pytest.raises(key_set.KeysUnavailable) as raised:
        key_set.fetch(url)

    assert not isinstance(raised.value, key_set.KeysMisconfigured)


def test_interim_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    with speaking(lambda opened: opened.sendall(early * 2 + HEAD + LIST)) as url:
        found = key_set.fetch(url)

    assert [key.kid for key in found.keys] == ["one"]


def test_no_more_is_read_than_a_key_set_can_have() -> None:
    def endless(opened: socket.socket) -> None:
        opened.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                opened.sendall(b" " * 65_536)

    with speaking(endless) as url, pytest.raises(key_set.KeysMisconfigured, match="more than 256 KiB"):
        key_set.fetch(url)
