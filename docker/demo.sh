#!/bin/sh
# The whole product in containers, to try it: a stand-in takes the external service's place, and the links that sign in are in
# its log. `sh docker/demo.sh down --volumes` ends and removes it; any other words go to `docker compose`, too.
set -eu
cd "$(dirname "$0")/.."

random() { # So many bytes, as URLs and Fernet keys want them.
    head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'
}

if ! test -e .env.demo; then
    umask 077
    {
        for name in POSTGRES RITA_OWNER RITA_APP RABBITMQ REDIS EXTERNAL_SERVICE; do
            echo "${name}_PASSWORD=$(random 24)"
        done
        echo "AUTOMATION_WEBHOOK_URL=http://127.0.0.1:8090/webhook"
        echo "AUTOMATION_AUTH=Bearer $(random 24)"
        echo "WEBHOOK_SIGNING_SECRET=whsec_$(head -c 32 /dev/urandom | base64 | tr -d '\n')"
        echo "JWT_SECRET=$(random 48)"
        echo "SEAL_KEYS=$(random 32)"
        echo "METRICS_TOKEN=$(random 24)"
        echo "FLOWER_BASIC_AUTH=rita:$(random 24)"
    } >.env.demo
fi
test $# -gt 0 || set -- up --build
exec docker compose --env-file .env.demo --profile demo "$@"
