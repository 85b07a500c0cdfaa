#!/usr/bin/env bash
# Since redis-py measures itself for OpenTelemetry, `import redis` also loads the metrics half of OpenTelemetry's SDK
# wherever the SDK is installed, although nobody has asked for measurements: every process of an application that has the
# SDK for its traces pays for it at each start, a command that never talks to Redis too. Without the SDK nothing is lost.
#
# Versions: redis 8.1.0, opentelemetry-sdk 1.45.1 from PyPI, Python 3.11.
# Seen 2026-12-01:
#   redis alone: no module of the SDK
#   beside the SDK: opentelemetry.sdk.metrics and more than twenty other modules of the SDK
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m pip install --quiet --disable-pip-version-check --target "$folder/redis" redis==8.1.0
python3 -m pip install --quiet --disable-pip-version-check --target "$folder/sdk" opentelemetry-sdk==1.45.1
look='
import sys
import redis
loaded = {name for name in sys.modules if name.startswith("opentelemetry.sdk.")}
more = len(loaded - {"opentelemetry.sdk.metrics"})
found = "opentelemetry.sdk.metrics" in loaded
print(f"opentelemetry.sdk.metrics and {'\''more than twenty'\'' if more > 20 else more} other modules of the SDK" if found else "no module of the SDK")
'
seen="redis alone: $(PYTHONPATH="$folder/redis" python3 -S -c "$look")
beside the SDK: $(PYTHONPATH="$folder/redis:$folder/sdk" python3 -S -c "$look")"
echo "$seen"
test "$seen" = "redis alone: no module of the SDK
beside the SDK: opentelemetry.sdk.metrics and more than twenty other modules of the SDK"
