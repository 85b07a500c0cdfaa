"""Where webhooks arrive: answers each after a while, and remembers when the first of each connection came."""

from __future__ import annotations

import asyncio
import json
import os
import time
from urllib.parse import urlsplit

FOUND, NOTHING = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", b"{}"


class Receiver:
    """Speaks as much HTTP as a POST with a length and a GET need."""

    def __init__(self, *, delay: float) -> None:
        self._delay = delay
        self._arrivals: dict[str, float] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        head = await reader.readuntil(b"\r\n\r\n")
        moment = time.monotonic()
        if head.startswith(b"GET"):
            content = json.dumps(self._arrivals).encode()
        else:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = json.loads(await reader.readexactly(length))
            self._arrivals.setdefault(body["connection_id"], moment)
            content = NOTHING
            await asyncio.sleep(self._delay)
        writer.write(FOUND % len(content) + content)
        await writer.drain()
        writer.close()


async def main() -> None:
    """Serve at the address that webhooks are sent to."""
    address = urlsplit(os.environ["AUTOMATION_WEBHOOK_URL"])
    receiver = Receiver(delay=float(os.environ.get("BENCH_ANSWER_SECONDS", "0")))
    server = await asyncio.start_server(receiver.answer, address.hostname, address.port, backlog=1024)
    print("receiver ready.", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
