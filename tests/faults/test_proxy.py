"""The proxy does to connections what it says: a fault that did not happen would prove nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from devstack.child import LOOPBACK
from tests.faults.proxy import Proxy
from tests.waiting import eventually

BRIEFLY = 0.3


@pytest.fixture
def server() -> Iterator[tuple[int, list[socket.socket]]]:
    """A server that keeps what it accepts."""
    accepted: list[socket.socket] = []
    with socket.create_server((LOOPBACK, 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    accepted.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], accepted
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for side in accepted:
        side.close()


@pytest.fixture
def proxy(server: tuple[int, list[socket.socket]]) -> Iterator[Proxy]:
    with Proxy(server[0]) as made:
        yield made


@pytest.fixture
def ends(proxy: Proxy, server: tuple[int, list[socket.socket]]) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end and the server's, each of which waits only briefly for the other."""
    with socket.create_connection((LOOPBACK, proxy.port)) as client:
        eventually(lambda: server[1])
        for side in (client, server[1][0]):
            side.settimeout(BRIEFLY)
        client.sendall(b"hello")
        assert server[1][0].recv(5) == b"hello"
        yield client, server[1][0]


def is_silent(side: socket.socket) -> bool:
    try:
        side.recv(1)
    except TimeoutError:
        return True
    return False


def test_frozen_it_passes_nothing_either_way_and_thawed_all_that_waited(
    proxy: Proxy, ends: tuple[socket.socket, socket.socket]
) -> None:
    client, server = ends
    proxy.freeze()
    client.sendall(b"up")
    server.sendall(b"down")

    assert is_silent(server)
    assert is_silent(client)
    proxy.thaw()

    assert server.recv(2) == b"up"
    assert client.recv(4) == b"down"


def test_torn_it_passes_the_beginning_of_an_answer_and_thawed_the_rest(
    proxy: Proxy, ends: tuple[socket.socket, socket.socket]
) -> None:
    client, server = ends
    proxy.tear(after=2)
    client.sendall(b"up")
    assert server.recv(2) == b"up"

    # Only now: a gate that closes within the answer closes for what the client says, too.
    server.sendall(b"down")
    assert client.recv(4) == b"do"
    assert is_silent(client)
    assert proxy.is_torn
    proxy.thaw()

    assert client.recv(4) == b"wn"


def test_a_cut_ends_both_sides(proxy: Proxy, ends: tuple[socket.socket, socket.socket]) -> None:
    proxy.cut()

    assert [side.recv(1) for side in ends] == [b"", b""]


@pytest.mark.parametrize("gone", ["client", "server"])
def test_an_abandoned_side_ends_and_the_other_one_is_not_told(
    gone: str, proxy: Proxy, ends: tuple[socket.socket, socket.socket]
) -> None:
    ended, stays = ends if gone == "client" else ends[::-1]
    proxy.abandon(gone)

    assert ended.recv(1) == b""
    stays.sendall(b"is anybody there?")
    assert is_silent(stays)


def test_refusing_it_takes_nobody_and_leaves_those_who_are_there(
    proxy: Proxy, ends: tuple[socket.socket, socket.socket]
) -> None:
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, proxy.port))
    ends[0].sendall(b"x")
    assert ends[1].recv(1) == b"x"


def test_a_connection_that_both_sides_have_ended_takes_no_files_any_more(
    proxy: Proxy, ends: tuple[socket.socket, socket.socket]
) -> None:
    client, server_side = ends
    (link,) = proxy._links  # noqa: SLF001 - what it keeps is what this is about

    client.shutdown(socket.SHUT_WR)
    assert server_side.recv(1) == b""
    server_side.sendall(b"later")
    assert client.recv(5) == b"later"
    server_side.shutdown(socket.SHUT_WR)

    eventually(lambda: (link.client.fileno(), link.server.fileno()) == (-1, -1))
    assert proxy.links == 1
