"""Tell a credential by its looks, so that none is stored where only configuration belongs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Compared without case, underscores, dashes and spaces. Whole names: `tokenizer` or `secretary` are no secrets.
_KEYS = frozenset(
    {
        "accesskey", "accesstoken", "apikey", "apisecret", "apitoken", "auth", "authorization", "authtoken",
        "bearer", "bearertoken", "clientsecret", "cookie", "credential", "idtoken", "oauthtoken", "passphrase",
        "passwd", "password", "pat", "personalaccesstoken", "privatekey", "pwd", "refreshtoken", "secret",
        "secretaccesskey", "secretkey", "sessiontoken", "sharedsecret", "signingkey", "signingsecret", "token",
        "webhooksecret",
    }
)  # fmt: skip
# What any number of words may stand before. `tokens` is none of them: `max_tokens` counts.
_ENDINGS = (
    "password", "passwords", "passwd", "passphrase", "secret", "secrets", "token", "apikey", "apikeys", "accesskey",
    "privatekey", "sshkey", "credential", "credentials",
)  # fmt: skip
# Every repetition is bounded: a text may be as long as a whole configuration.
_TEXT = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
    r"|\bbearer\s{1,9}[A-Za-z0-9+/_.~-]{16}"
    r"|\b(?:password|passwd|api[_ -]?(?:key|token|secret)|client[_ -]?secret)\s{0,9}[:=]\s{0,9}\S"
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{30}|xox[abprs]-[A-Za-z0-9-]{10}|AKIA[A-Z0-9]{16})"
    r"|\beyJ[A-Za-z0-9_-]{8,999}\.[A-Za-z0-9_-]{8,9999}\."
    r"|\b[a-z][a-z0-9+.-]{0,30}://[^/\s:@]{0,256}:[^/\s@]{1,256}@",
    re.IGNORECASE,
)


def is_secret_key(key: str) -> bool:
    """Tell whether a field of this name would hold a credential."""
    bare = re.sub(r"[^a-z0-9]", "", key.lower()).rstrip("0123456789")
    return bare in _KEYS or bare.endswith(_ENDINGS)


def find(value: Any, *, path: str) -> Iterator[str]:
    """Yield the path of every key or text inside a JSON value that looks like a credential; never the value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if is_secret_key(key):
                yield f"{path}.{key}"
            else:
                yield from find(inner, path=f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find(inner, path=f"{path}[{index}]")
    elif isinstance(value, str) and _TEXT.search(value):
        yield path
