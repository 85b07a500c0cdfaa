"""What the doctor looks at from outside: whether pages and live events come through the proxy in front of Rita."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

from redis.exceptions import RedisError

from app import extensions
from app.cli.findings import Finding
from app.outbound import events
from app.outbound.front import Front, NotRita, Stream
from app.outbound.tickets import tickets
from app.unit_of_work import database_time

# In seconds. Later than this, somebody on the way gathers events; a machine that is busy is faster.
AT_ONCE = 0.15
# How much later than it is due a heartbeat may come.
PATIENCE = 5.0
CONFIGURED = "use the proxy's file of docs/deploy.md"


def of_front(front: Front) -> Iterator[Finding]:
    """Look at the public address as a browser would, with a stream of an organization that does not exist."""
    try:
        answer = front.answer()
    except NotRita as seen:
        yield Finding("front", ok=False, found=str(seen), mend="look at the proxy, its log, and whom it asks")
        return
    found = f"answers over {answer.protocol}"
    if answer.keeps_tls:
        found += ", and tells browsers to stay with TLS"
    if not extensions.settings().trusted_proxies:
        found += "; log lines name the proxy, because TRUSTED_PROXIES is not set"
    mend = "let browsers come by TLS alone: tokens and credentials pass here"
    yield Finding("front", ok=front.is_safe, found=found, mend=mend)
    if not extensions.settings().seal_keys:
        # A stream's ticket is made with them.
        yield Finding("front events", ok=True, found="not looked at: SEAL_KEYS is not set here")
        return
    try:
        yield from _of_stream(front)
    except NotRita as seen:
        yield Finding("front events", ok=False, found=f"the event stream {seen}", mend=CONFIGURED)
    except RedisError as problem:
        yield Finding("front events", ok=False, found=f"not tried: {type(problem).__name__}", mend="mend redis first")


def _of_stream(front: Front) -> Iterator[Finding]:
    nobody = uuid4()
    channel, heartbeat = events.channel_of(nobody), extensions.settings().sse_heartbeat_seconds.total_seconds()
    with front.stream(_ticket_of(nobody)) as stream:
        try:
            yield _of_delay(stream, channel)
            lasts = stream.outlasts(seconds=heartbeat + PATIENCE)
        finally:
            extensions.redis().delete(f"{channel}:events")
    found = f"a stream {'lasts' if lasts else 'does not last'} through {heartbeat:g} s of silence"
    mend = "let the proxy, and what stands before it, wait longer than four heartbeats for a word (60 s)"
    yield Finding("front streams", ok=lasts, found=found, mend=mend)


def _of_delay(stream: Stream, channel: str) -> Finding:
    if stream.is_compressed:
        return Finding("front events", ok=False, found="the event stream is compressed on the way", mend=CONFIGURED)
    try:
        stream.begin()
        delay = stream.delay(partial(events.stream.publish, {"change": "doctor"}, channel=channel))
    except TimeoutError:
        return Finding("front events", ok=False, found="events are held back on the way", mend=CONFIGURED)
    found = f"events arrive within {delay * 1000:.0f} ms"
    return Finding("front events", ok=delay < AT_ONCE, found=found, mend=CONFIGURED)


def _ticket_of(nobody: UUID) -> str:
    """Return a ticket of a member of an organization that has nothing and nobody; `app/api/auth.py` reads it."""
    claims = {"sub": nobody, "email": "doctor@localhost", "organization_id": nobody, "role": "member"}
    # Longer than it takes, and than clocks of hosts differ by.
    expires_at = database_time() + timedelta(minutes=5)
    return tickets().issue({**claims, "exp": expires_at})
