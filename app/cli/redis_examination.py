"""What the doctor looks at in Redis: whether it answers, forgets what it must, and keeps what it must."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from redis.exceptions import RedisError, ResponseError

from app import extensions
from app.cli.findings import Finding, clock
from app.domain.texts import counted
from app.outbound import sealing

MEBI = 1024 * 1024
# Of its memory; what comes in a minute must still fit.
NEARLY_FULL = 0.9


def of_redis() -> Iterator[Finding]:
    """Look whether it answers, forgets what it must, and holds credentials that can be decrypted."""
    redis = extensions.redis()
    try:
        seconds, microseconds = redis.time()
        yield Finding("redis", ok=True, found="answers")
        yield clock("Redis'", datetime.fromtimestamp(seconds + microseconds / 1e6, UTC))
        yield _unopened()
    except RedisError as problem:
        mend = "look at REDIS_URL, the server and its log; until it answers, verifications and streams are refused"
        yield Finding("redis", ok=False, found=f"does not answer: {type(problem).__name__}", mend=mend)
        return
    try:
        kept = {name: redis.config_get(name)[name] for name in ("save", "appendonly")}
    except ResponseError:
        yield Finding(
            "persistence", ok=True, found="this Redis does not let itself be asked; see that it writes no disk"
        )
        return
    yield _memory()
    persists = bool(kept["save"]) or kept["appendonly"] == "yes"
    found = "writes to disk" if persists else "writes nothing to disk"
    mend = 'CONFIG SET save "", CONFIG SET appendonly no: sealed credentials must not reach a disk'
    yield Finding("persistence", ok=not persists, found=found, mend=mend)


def _memory() -> Finding:
    """Look whether it throws away what it has promised to keep, and how full it is."""
    policy = extensions.redis().config_get("maxmemory-policy")["maxmemory-policy"]
    memory = extensions.redis().info("memory")
    used, most = memory["used_memory"] / MEBI, memory["maxmemory"] / MEBI
    found = f"{used:.0f} MiB used of {f'{most:.0f} MiB' if most else 'any number'}, {policy}"
    if most and policy != "noeviction":
        mend = "CONFIG SET maxmemory-policy noeviction: it may throw away credentials under way, tickets and jobs"
        return Finding("memory", ok=False, found=found, mend=mend)
    mend = "give it more memory (maxmemory): when it is full, verifications, tickets and events are refused"
    return Finding("memory", ok=not most or used < NEARLY_FULL * most, found=found, mend=mend)


def _unopened() -> Finding:
    """Look for credentials that were encrypted with a key that is no longer among ours."""
    prefix = sealing.PREFIX
    waiting = [key.removeprefix(prefix.encode()) for key in extensions.redis().scan_iter(f"{prefix}*", count=1_000)]
    unopened = [name for name in waiting if not _opens(name)]
    found = f"{counted(len(waiting), 'verification')} under way, {len(unopened)} sealed with an unknown key"
    mend = "put the former key into SEAL_KEYS again, behind the new one, and restart webhook_worker"
    return Finding("seals", ok=not unopened, found=found, mend=mend)


def _opens(name: bytes) -> bool:
    try:
        return sealing.seals().is_readable(UUID(name.decode()))
    except ValueError:
        # Not a name of ours: somebody else has written it.
        return False
