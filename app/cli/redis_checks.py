"""What the doctor looks at in Redis: whether it answers, forgets what it must, and keeps what it must."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from redis.exceptions import RedisError, ResponseError

from app import extensions
from app.cli.findings import Finding, compare_clock
from app.domain.texts import count_with_noun
from app.outbound import credential_store

BYTES_PER_MEBIBYTE = 1024 * 1024
# Of its memory; what comes in a minute must still fit.
MAX_MEMORY_SHARE = 0.9


def check_redis() -> Iterator[Finding]:
    """Look whether it answers, forgets what it must, and holds credentials that can be decrypted."""
    redis = extensions.redis()
    try:
        seconds, microseconds = redis.time()
        yield Finding("redis", ok=True, found="answers")
        yield compare_clock("Redis'", datetime.fromtimestamp(seconds + microseconds / 1e6, UTC))
        yield _check_stored_credentials()
    except RedisError as problem:
        mend = "look at REDIS_URL, the server and its log; until it answers, verifications and streams are refused"
        yield Finding("redis", ok=False, found=f"does not answer: {type(problem).__name__}", mend=mend)
        return
    try:
        kept = {name: redis.config_get(name)[name] for name in ("save", "appendonly")}
    except ResponseError:
        found = "this Redis does not let itself be asked; see that it writes no disk"
        yield Finding("persistence", ok=True, found=found)
        return
    yield _check_memory()
    persists = bool(kept["save"]) or kept["appendonly"] == "yes"
    found = "writes to disk" if persists else "writes nothing to disk"
    mend = 'CONFIG SET save "", CONFIG SET appendonly no: sealed credentials must not reach a disk'
    yield Finding("persistence", ok=not persists, found=found, mend=mend)


def _check_memory() -> Finding:
    """Look whether it throws away what it has promised to keep, and how full it is."""
    policy = extensions.redis().config_get("maxmemory-policy")["maxmemory-policy"]
    memory = extensions.redis().info("memory")
    used, most = memory["used_memory"] / BYTES_PER_MEBIBYTE, memory["maxmemory"] / BYTES_PER_MEBIBYTE
    found = f"{used:.0f} MiB used of {f'{most:.0f} MiB' if most else 'any number'}, {policy}"
    if most and policy != "noeviction":
        mend = "CONFIG SET maxmemory-policy noeviction: it may throw away credentials under way, tickets and jobs"
        return Finding("memory", ok=False, found=found, mend=mend)
    mend = "give it more memory (maxmemory): when it is full, verifications, tickets and events are refused"
    return Finding("memory", ok=not most or used < MAX_MEMORY_SHARE * most, found=found, mend=mend)


def _check_stored_credentials() -> Finding:
    """Look for credentials that were encrypted with a key that is no longer among ours, and for what is not ours."""
    keys = list(extensions.redis().scan_iter(f"{credential_store.REDIS_KEY_PREFIX}*", count=1_000))
    waiting = [operation_id for operation_id in map(_operation_id_of_ours, keys) if operation_id is not None]
    decryptable = credential_store.current_credential_store().is_decryptable
    undecryptable_count, foreign_count = sum(not decryptable(each) for each in waiting), len(keys) - len(waiting)
    found = (
        f"{count_with_noun(len(waiting), 'verification')} under way, {undecryptable_count} sealed with an unknown key"
    )
    mends = []
    if undecryptable_count:
        mends.append("put the former key into SEAL_KEYS again, behind the new one, and restart webhook_worker")
    if foreign_count:
        found += f", {count_with_noun(foreign_count, 'key')} beside them that Rita did not write"
        mends.append(
            f"see what lies under {credential_store.REDIS_KEY_PREFIX}* and who else writes to this Redis;"
            " docs/operations.md has what to do"
        )
    return Finding("seals", ok=not mends, found=found, mend="; and ".join(mends))


def _operation_id_of_ours(key: bytes) -> UUID | None:
    """Return whose credentials lie under a key; None if it has a name or a type that Rita never gives one."""
    try:
        operation_id = UUID(key.decode().removeprefix(credential_store.REDIS_KEY_PREFIX))
    except ValueError:
        return None
    # Of one that has ended meanwhile Redis says that it is none.
    return operation_id if extensions.redis().type(key) in (b"string", b"none") else None
