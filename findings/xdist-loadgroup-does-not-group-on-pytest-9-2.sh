#!/usr/bin/env bash
# pytest-xdist 3.8.0 on pytest 9.2.0: `--dist loadgroup` no longer keeps a group in one process.
#
# The plugin writes a test's group behind its name by setting the private attribute `_nodeid` of the item; since 9.2
# pytest makes `nodeid` of another private attribute and does not read that one any more. No error, no warning: tests
# that are marked to share a process are given to several, as with `--dist load`. On pytest 9.1.1 they stay together.
#
# Seen 2026-11-30, Python 3.11.7:
#   pytest 9.1.1 and pytest-xdist 3.8.0: 8 tests of one group ran in 1 process(es)
#   pytest 9.2.0 and pytest-xdist 3.8.0: 8 tests of one group ran in 2 process(es)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/test_group.py" <<'PYTHON'
import os
import pathlib

import pytest


@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(8))
def test_of_one_group(number):
    pathlib.Path(os.environ["NOTES"], f"{number}-{os.environ['PYTEST_XDIST_WORKER']}").touch()
PYTHON

processes_of_the_group() {
    local notes="$folder/notes-$1"
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/python" -m pip install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0 execnet==2.1.2
    mkdir "$notes"
    (cd "$folder" && NOTES=$notes "$folder/$1/bin/pytest" -q -p no:cacheprovider -n 2 --dist loadgroup test_group.py) >"$notes.txt"
    find "$notes" -type f | sed 's/.*-//' | sort -u | wc -l
}

status=0
for expected in 9.1.1:1 9.2.0:2; do
    version=${expected%:*}
    seen=$(processes_of_the_group "$version")
    echo "pytest $version and pytest-xdist 3.8.0: 8 tests of one group ran in $seen process(es)"
    test "$seen" = "${expected#*:}" || status=1
done
exit $status
