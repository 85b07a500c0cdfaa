"""`make audit`: are there known vulnerabilities in what constraints.txt pins? Asked of pip-audit's service.

A vulnerability fails. A service that does not answer, or does not know our packages, is no verdict: it is said loudly
and does not fail, or nobody could build while it is away.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
# The service is asked once for each package, one after the other.
WITHIN_SECONDS = 600
BANNER = "!" * 78


def judge(report: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return what pip-audit found: a line for each vulnerability, and the packages that nobody vouches for."""
    vulnerable, unknown = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
        for found in package.get("vulns", ()):
            fixed_in = ", ".join(found["fix_versions"]) or "no version yet"
            vulnerable.append(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed_in}")
    return vulnerable, unknown


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run pip-audit on what is pinned."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--desc", "off", "--progress-spinner", "off", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_SECONDS)


def main(options: Sequence[str]) -> int:
    """Print the verdict and return the exit status; options are pip-audit's own."""
    argparse.ArgumentParser(prog="python -m devstack.audit", description=__doc__).parse_known_args(options)
    rehearsal = run("--dry-run")
    if rehearsal.returncode != 0:
        print(rehearsal.stderr)
        return rehearsal.returncode
    try:
        report = json.loads(run(*options).stdout)
    except (subprocess.TimeoutExpired, ValueError):
        # It can read the pins, as the rehearsal has shown: what fails is on the network.
        print(f"{BANNER}\nNOT AUDITED: the vulnerability service does not answer.\n{BANNER}")
        return 0
    vulnerable, unknown = judge(report)
    known = len(report["dependencies"]) - len(unknown)
    if unknown:
        names = ", ".join(unknown) if known else "any of our packages"
        print(f"{BANNER}\nNOT AUDITED: the vulnerability service does not know {names}.\n{BANNER}")
    print(f"{known} packages looked up, {len(vulnerable)} known vulnerabilities", *vulnerable, sep="\n")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
