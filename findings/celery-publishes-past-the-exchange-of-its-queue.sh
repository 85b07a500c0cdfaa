#!/usr/bin/env bash
# Celery declares a queue's own exchange and binds the queue to it, but publishes to the default exchange where the own
# one is direct, unless each call names exchange and routing key. So on RabbitMQ a user that only sends tasks needs
# "write" on amq.default, with which it may write into every queue of the virtual host, and needs none on the exchange.
#
# Versions: celery 5.7.0, kombu 5.7.0 from PyPI, Python 3.11; the transport in memory.
# Seen 2026-11-30:
#   queue alone: exchange '', routing key 'jobs'
#   both named: exchange 'ours', routing key 'jobs'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m pip install --quiet --disable-pip-version-check --target "$folder" celery==5.7.0 kombu==5.7.0
seen=$(PYTHONPATH="$folder" python3 -c '
from celery import Celery
from celery.signals import before_task_publish
from kombu import Exchange, Queue

app = Celery(broker="memory://")
app.conf.task_queues = [Queue("jobs", Exchange("ours", type="direct"), routing_key="jobs")]
what = ""

@before_task_publish.connect
def show(exchange, routing_key, **_):
    print(f"{what}: exchange {exchange!r}, routing key {routing_key!r}")

what = "queue alone"
app.send_task("a.task", queue="jobs")
what = "both named"
app.send_task("a.task", queue="jobs", exchange="ours", routing_key="jobs")
')
echo "$seen"
test "$seen" = "queue alone: exchange '', routing key 'jobs'
both named: exchange 'ours', routing key 'jobs'"
