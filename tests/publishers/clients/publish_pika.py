"""As pika's README publishes."""

import json
import os
import time
from datetime import UTC, datetime

import pika

message = json.loads(os.environ["MESSAGE"])
connection = pika.BlockingConnection(pika.URLParameters(os.environ["RABBITMQ_URL"]))
channel = connection.channel()
channel.queue_declare(os.environ["QUEUE"], durable=True)
for timestamp in (datetime.now(UTC).isoformat(), str(datetime.now(UTC).astimezone()), time.time()):
    body = json.dumps(message | {"timestamp": timestamp})
    channel.basic_publish(exchange="", routing_key=os.environ["QUEUE"], body=body)
connection.close()
