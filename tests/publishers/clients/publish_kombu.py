"""As kombu's README publishes: with its own serializer, which knows datetimes."""

import json
import os
from datetime import UTC, datetime

from kombu import Connection, Queue

message = json.loads(os.environ["MESSAGE"]) | {"timestamp": datetime.now(UTC)}
queue = Queue(os.environ["QUEUE"], routing_key=os.environ["QUEUE"])
with Connection(os.environ["RABBITMQ_URL"]) as connection:
    producer = connection.Producer()
    producer.publish(message, routing_key=os.environ["QUEUE"], declare=[queue])
