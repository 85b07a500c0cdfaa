"""As aio-pika's README publishes."""

import asyncio
import json
import os
from datetime import UTC, datetime

import aio_pika


async def main() -> None:
    message = json.loads(os.environ["MESSAGE"]) | {"timestamp": datetime.now(UTC).isoformat()}
    connection = await aio_pika.connect_robust(os.environ["RABBITMQ_URL"])
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(os.environ["QUEUE"], durable=True)
        body = json.dumps(message, ensure_ascii=False).encode()
        await channel.default_exchange.publish(aio_pika.Message(body=body), routing_key=os.environ["QUEUE"])


asyncio.run(main())
