#!/usr/bin/env bash
# kombu's JSON, which Producer.publish and so Celery use by default, writes a datetime as an object, not as a text: a
# consumer in any other language finds `{"__type__": "datetime", "__value__": ...}` where it looks for a time.
#
# Versions: kombu 5.7.0 from PyPI, Python 3.11.
# Seen 2026-11-30:
#   {"timestamp": {"__type__": "datetime", "__value__": "2026-11-30T07:00:00+00:00"}}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m pip install --quiet --disable-pip-version-check --target "$folder" kombu==5.7.0
written=$(PYTHONPATH="$folder" python3 -c '
from datetime import UTC, datetime
from kombu.utils.json import dumps
print(dumps({"timestamp": datetime(2026, 11, 30, 7, tzinfo=UTC)}))
')
echo "$written"
test "$written" = '{"timestamp": {"__type__": "datetime", "__value__": "2026-11-30T07:00:00+00:00"}}'
