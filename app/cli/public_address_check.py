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
from app.outbound.public_address import PublicAddress, PublicStream, UnexpectedAnswer
from app.outbound.stream_tickets import current_stream_tickets
from app.unit_of_work import database_time

# In seconds. Later than this, somebody on the way gathers events; a machine that is busy is faster.
MAX_EVENT_DELAY_SECONDS = 0.15
# How much later than it is due a heartbeat may come.
HEARTBEAT_SLACK_SECONDS = 5.0
PROXY_CONFIGURATION_ADVICE = "use the proxy's file of docs/deploy.md"


def check_public_address(public_address: PublicAddress) -> Iterator[Finding]:
    """Look at the public address as a browser would, with a stream of an organization that does not exist."""
    try:
        answer = public_address.check_health()
    except UnexpectedAnswer as seen:
        yield Finding("front", ok=False, found=str(seen), mend="look at the proxy, its log, and whom it asks")
        return
    found = f"answers over {answer.protocol}"
    if answer.has_strict_transport_security:
        found += ", and tells browsers to stay with TLS"
    if not extensions.settings().trusted_proxies:
        found += "; log lines name the proxy, because TRUSTED_PROXIES is not set"
    mend = "let browsers come by TLS alone: tokens and credentials pass here"
    yield Finding("front", ok=public_address.is_safe, found=found, mend=mend)
    if not extensions.settings().seal_keys:
        # A stream's ticket is made with them.
        yield Finding("front events", ok=True, found="not looked at: SEAL_KEYS is not set here")
        return
    try:
        yield from _check_stream(public_address)
    except UnexpectedAnswer as seen:
        yield Finding("front events", ok=False, found=f"the event stream {seen}", mend=PROXY_CONFIGURATION_ADVICE)
    except RedisError as problem:
        yield Finding("front events", ok=False, found=f"not tried: {type(problem).__name__}", mend="fix redis first")


def _check_stream(public_address: PublicAddress) -> Iterator[Finding]:
    nobody = uuid4()
    channel = events.channel_of_organization(nobody)
    heartbeat = extensions.settings().sse_heartbeat_seconds.total_seconds()
    with public_address.open_stream(_issue_ticket(nobody)) as stream:
        try:
            delay = _measure_event_delay(stream, channel)
            found = f"events arrive within {delay * 1000:.0f} ms"
            yield Finding(
                "front events", ok=delay < MAX_EVENT_DELAY_SECONDS, found=found, mend=PROXY_CONFIGURATION_ADVICE
            )
            lasts = stream.survives_silence(silence_seconds=heartbeat + HEARTBEAT_SLACK_SECONDS)
        except _EventsUnreadable as seen:
            # Heartbeats would not be seen either, so that nothing can be said of how long a stream lasts.
            yield Finding("front events", ok=False, found=str(seen), mend=PROXY_CONFIGURATION_ADVICE)
            return
        finally:
            extensions.redis().delete(f"{channel}:events")
    found = f"a stream {'lasts' if lasts else 'does not last'} through {heartbeat:g} s of silence"
    mend = "let the proxy, and what stands before it, wait longer than four heartbeats for a word (60 s)"
    yield Finding("front streams", ok=lasts, found=found, mend=mend)


class _EventsUnreadable(Exception):
    """Events do not come through as they are sent."""


def _measure_event_delay(stream: PublicStream, channel: str) -> float:
    """Return how many seconds the slowest event took. Raises _EventsUnreadable."""
    if stream.is_compressed:
        raise _EventsUnreadable("the event stream is compressed on the way")
    try:
        stream.read_event()
        return stream.measure_event_delay(partial(events.event_stream.publish, {"change": "doctor"}, channel=channel))
    except TimeoutError:
        raise _EventsUnreadable("events are held back on the way") from None


def _issue_ticket(organization_id: UUID) -> str:
    """Return a ticket of a member of an organization that has nothing and nobody; `app/api/auth.py` reads it."""
    claims = {"sub": organization_id, "email": "doctor@localhost", "organization_id": organization_id, "role": "member"}
    # Longer than it takes, and than clocks of hosts differ by.
    expires_at = database_time() + timedelta(minutes=5)
    return current_stream_tickets().issue({**claims, "exp": expires_at})
