#!/bin/sh
# What the official image's entry point does, as far as compose relies on it; that image is built without protected mode.
set -eu
if [ "${1:-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid=redis --regid=redis --init-groups -- "$@" --protected-mode no
fi
exec "$@"
