"""Packages of another Debian suite, unpacked into a folder: nothing is installed, and no script of theirs runs.

They come from the mirror that this machine's apt is configured with, checked with Debian's own keys. A program from
such a folder runs with it in place of the machine's /usr, so with its own C library, see `command`.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from devstack.child import StartError

# Debian's package debian-archive-keyring; apt itself depends on it there.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DOWNLOADED_WITHIN = timedelta(minutes=2)
UNPACKED_WITHIN = timedelta(minutes=2)
# A mirror that is away is not waited for.
SILENT_FOR, TRIES = timedelta(seconds=15), 2


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Return the folder that all clones of this user share, so that each package is downloaded once."""
    home = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache"
    return Path(home) / "rita-data-sources"


def command(usr: Path, program: str, *words: str, user: str | None = None) -> list[str]:
    """Return the command that runs a program of an unpacked /usr in place of the machine's.

    The bind mount is in a mount namespace of its own, which ends with the last process in it: none is left behind,
    however that ends. Whoever is not root gets a user namespace, too, where the kernel allows it. With `user` the
    program runs as that one, for which the /usr needs util-linux, and we must be root.
    """
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    script = 'mount --bind "$0" /usr && exec "$@"'
    become = ["setpriv", "--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups"] if user else []
    return ["unshare", "--mount", *as_root, "sh", "-c", script, str(usr), *become, program, *words]


def unpack_packages(packages: Sequence[str], *, suite: str, folder: Path) -> Path:
    """Return the folder with the packages' /usr and that of all they depend on; unpack them if it is not there.

    Raises StartError, with a sentence, where they cannot be had or could not be run.
    """
    _require_tools()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        # Another process may be at it; what it may take is limited.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unpacking-") as work:
                root = Path(work) / "root"
                unpack(download(packages, suite=suite, work=Path(work)), root=root)
                _merge_into_usr(root)
                (root / "usr").rename(folder)
    return folder


def _merge_into_usr(root: Path) -> None:
    """Have what older suites install beside /usr in it, where an installed system has links to."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)


def _require_tools() -> None:
    try:
        _run(command(Path("/usr"), "true"), within=SILENT_FOR)
    except StartError as problem:
        raise StartError(f"This user may not mount anything, not even for one process alone: {problem}") from problem


def _mirror() -> str:
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))) or not KEYRING.exists():
        raise StartError("This is no Debian: it has no apt-get, no dpkg-deb or no keys of Debian's.")
    wanted = ["Created-By: Packages", "Label: Debian", "Component: main"]
    found = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted], within=SILENT_FOR).split()
    if not found:
        raise StartError("apt knows of no mirror of Debian: is one configured, and has `apt-get update` run?")
    return found[0]


def download(packages: Sequence[str], *, suite: str, work: Path) -> list[Path]:
    """Return the package files, with all that they need, as on a machine that has no package yet.

    Raises StartError where they cannot be had.
    """
    sources, status, archives = work / "sources.list", work / "status", work / "archives"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    status.touch()
    for folder in (archives / "partial", work / "lists" / "partial"):
        folder.mkdir(parents=True)
    options = {
        "Dir::State": work,
        "Dir::State::status": status,
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work,
        "Dir::Cache::archives": archives,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        # Who apt would change to may not write here.
        "APT::Sandbox::User": "root",
        # A mirror that is a snapshot of a day past serves what has expired since.
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
        # Left to itself, an update that fetched nothing counts as done.
        "APT::Update::Error-Mode": "any",
        "Acquire::Retries": TRIES - 1,
        "Acquire::http::Timeout": int(SILENT_FOR.total_seconds()),
        "Acquire::https::Timeout": int(SILENT_FOR.total_seconds()),
    }
    configuration = work / "apt.conf"
    # What the machine does after its own updates is for its own lists.
    lines = ["#clear APT::Update;", *(f'{name} "{value}";' for name, value in options.items())]
    configuration.write_text("\n".join(lines) + "\n")
    apt = ["apt-get", "-qq", "--config-file", str(configuration)]
    _run([*apt, "update"], within=DOWNLOADED_WITHIN)
    install = ["install", "--download-only", "--yes", "--no-install-recommends"]
    _run([*apt, *install, *packages], within=DOWNLOADED_WITHIN)
    return sorted(archives.glob("*.deb"))


def unpack(packages: Sequence[Path], *, root: Path) -> None:
    """Unpack package files into a folder. Raises StartError."""
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package), str(root)], within=UNPACKED_WITHIN)


def _run(words: Sequence[str], *, within: timedelta) -> str:
    """Run a command and return what it prints. Raises StartError, with the first complaint, when it fails or hangs."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=within.total_seconds(),
            env=os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except FileNotFoundError as problem:
        raise StartError(f"there is no {words[0]}.") from problem
    except subprocess.TimeoutExpired as problem:
        raise StartError(f"{words[0]} did not end within {within.total_seconds():.0f} s.") from problem
    except subprocess.CalledProcessError as problem:
        said = problem.stderr.strip().splitlines() or ["it said nothing"]
        raise StartError(f"{words[0]} failed: {said[0].strip().rstrip('.')}.") from problem
    return done.stdout
