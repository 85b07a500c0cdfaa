"""Ports of the loopback interface, held from their choice until this process ends, against all others of its kind.

Between the choice of a port and the moment when a server listens on it, seconds may pass in which another run, in
another clone, would find it free. So whoever chooses a port locks a file of its number; the kernel drops the lock
however the process ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
from contextlib import suppress
from pathlib import Path

from devstack.child import LOOPBACK, StartError

# Below those that a kernel gives to outgoing connections (from 32768 on Linux, from 49152 elsewhere): one of those can
# be taken between our look and the server's start.
SERVER_PORTS = range(20_000, 32_768)
# One folder for every user of the machine, whatever TMPDIR is theirs, where each may add files and nobody may remove
# another's; the files are empty.
LOCKS = Path("/tmp/rita-ports")  # noqa: S108 - see above
SHARED_FOLDER = 0o1777

# The locks of this process, by port.
_held: dict[int, int] = {}


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        # As servers do: connections of the last run that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def hold(port: int) -> bool:
    """Hold a port for a server of this process or of its children; False if it is another's.

    A port that this process holds already may be held again: a server that is started a second time keeps its port.
    """
    if port in _held:
        return is_free(port)
    lock = _lock(port)
    if lock is None:
        return False
    # Only now: who had the lock a moment ago may have a server on the port.
    if not is_free(port):
        os.close(lock)
        return False
    _held[port] = lock
    return True


def free_port(*preferred: int) -> int:
    """Return the first preferred port that can be had, or any other that is new to this process, and hold it.

    Raises StartError.
    """
    others = (port for port in random.sample(SERVER_PORTS, k=len(SERVER_PORTS)) if port not in _held)
    for port in (*preferred, *others):
        if hold(port):
            return port
    raise StartError(f"No port of {SERVER_PORTS[0]} to {SERVER_PORTS[-1]} is free.")


def kept_port(file: Path) -> int:
    """Return the port that the file remembers if it can be had, or another, remembered from now on; it is held."""
    remembered = file.read_text().strip() if file.exists() else ""
    port = free_port(*[int(remembered)] if remembered.isdecimal() else [])
    file.write_text(f"{port}\n")
    return port


def _lock(port: int) -> int | None:
    """Return the open, locked file of a port, or None if another process has it."""
    with suppress(FileExistsError):
        LOCKS.mkdir()
        LOCKS.chmod(SHARED_FOLDER)
    file = LOCKS / str(port)
    with suppress(FileExistsError):
        # Read-only is enough for a lock, and what another user made can be opened no other way.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o644))
    opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return None
    return opened
