"""Tell a credential by its looks, so that none is stored where only configuration belongs.

By the name of its field, by the name in a pair (`{"name": "api_token", "value": …}`), by what stands before it in a
text (`token=…`, `Authorization: Basic …`, `--password …`), and by what its issuer begins it with (`secret_kinds`). It
is a net against mistakes: who wants to hide a credential can.

A large configuration takes tenths of a second to look through. So it is done piece by piece, and whoever asks is told
after each one, to let others have a turn.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from app.domain.credential_patterns import CREDENTIAL_PATTERN

# Compared without case, underscores, dashes and spaces. Whole names: `tokenizer` or `secretary` are no secrets.
_SECRET_FIELD_NAMES = frozenset(
    {
        "auth", "authorization", "authtoken", "bearer", "cookie", "jwt", "pass", "pat", "pw", "pwd", "sas",
        "setcookie", "signingkey", "ssws",
    }
)  # fmt: skip
# What any number of words may stand before. `tokens` is none of them: `max_tokens` counts.
_SECRET_FIELD_SUFFIXES = (
    "password", "passwords", "passwd", "passphrase", "passcode", "secret", "secrets", "token", "apikey", "apikeys",
    "accesskey", "accountkey", "authkey", "encryptionkey", "decryptionkey", "functionskey", "functionkey", "hmackey",
    "masterkey", "privatekey", "secretkey", "sharedkey", "signingkey", "sshkey", "storagekey", "subscriptionkey",
    "credential", "credentials", "sastoken", "secretaccesskey", "clientassertion", "consumerkey", "presharedkey",
    "accesstokens", "refreshtokens", "apitokens", "authtokens",
    # In the other languages of those who write configurations.
    "passwort", "kennwort", "motdepasse", "contraseña", "contrasena", "senha", "wachtwoord", "lösenord", "adgangskode",
    "heslo", "hasło", "parola", "jelszó", "пароль", "密码", "密碼", "パスワード", "비밀번호",
)  # fmt: skip
# Short words are a credential's as a word of their own alone: `db_pwd` and `dbPwd`, not `bypass` or `spat`.
_SECRET_LAST_WORDS = frozenset({"cred", "creds", "jwt", "pass", "passwrd", "pat", "psk", "pswd", "psw", "pw", "pwd"})
# What may follow: `token_value`, `password_old`, `secret2`. Not `password_policy` or `token_url`.
_TRAILING_WORDS = frozenset(
    {
        "b64", "base64", "confirm", "confirmation", "current", "dev", "encoded", "encrypted", "hash", "hex", "new",
        "old", "plain", "plaintext", "prod", "raw", "str", "string", "text", "val", "value",
    }
)  # fmt: skip
# Of these a text speaks more often than it holds one: what follows has to look like one, too.
_AMBIGUOUS_FIELD_NAMES = frozenset(
    {"auth", "authorization", "bearer", "cookie", "credential", "credentials", "jwt", "pass", "pat", "pw", "sas",
     "secret", "secrets", "token"}
)  # fmt: skip
# What is given and is no credential.
_PLACEHOLDER_WORDS = {"false", "n", "nil", "no", "none", "null", "optional", "required", "true", "undefined", "yes"}
# Nor is what only stands in its place: stars and dots, `${PASSWORD}`, `{{ password }}`.
_PLACEHOLDER_PATTERN = re.compile(r"[\W_]{1,64}\Z|\$?\{")
# Of an object that is a name and a value. Titles and texts are none: those speak of credentials.
_PAIR_NAME_KEYS = ("name", "key", "field", "id", "header", "param", "parameter", "property", "variable", "k")
_PAIR_VALUE_KEYS = ("value", "val", "values", "default", "v")

# Of a text, so much is looked at in one go; the next piece begins before this one's end, by more than any credential's
# beginning is long. A value costs as much as some characters more.
SCAN_CHUNK_LENGTH, SCAN_CHUNK_OVERLAP, COST_PER_VALUE = 4 * 1024, 1024, 50
# Letters are normalized so many at a time, for of more that may take far more than so many times as long. And one may
# stand for eighteen, of which only as many are looked at as honest texts have.
NORMALIZATION_CHUNK_LENGTH = 256

ProgressCallback = Callable[[int], None]

_WORD_PATTERN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+|[^\W\d_]+")
# A name, what makes it one, and what it is given: `name=value`, `"name": "value"`, `<name>value<`, `--name value`.
# What it is given is not consumed, for it may hold the next: `https://…?token=…`.
_ASSIGNMENT_PATTERN = re.compile(
    r"""(?<![\w.-])([^\W\d][\w.-]{0,63})["'`*\\”]{0,3}\s{0,9}(?:=>|:=|[:=])\s{0,9}["'`*\\“]{0,3}(?=([^\s"'`<&;]{1,64}))"""
    r"""|<([^\W\d][\w.-]{0,63})>\s{0,9}(?=([^\s<]{1,64}))"""
    r"""|(?<!\S)--?([a-z][\w-]{1,63})\s{1,9}(?=([^\s-]\S{0,63}))"""
)
_SPACED_NAME_PATTERN = re.compile(
    r"\b(?:api[ _-]?(?:key|token|secret)|client[ _-]?secret|access[ _-]?(?:key|token)|private[ _-]?key)"
    r"\s{0,9}[:=]\s{0,9}(?!\s|\$?\{|[\W_]{1,64}(?:\s|\Z))\S",
    re.IGNORECASE,
)
_BASIC_AUTH_PATTERN = re.compile(r"\bbasic\s{1,9}([A-Za-z0-9+/_-]{4,512}={0,2})", re.IGNORECASE)
_INVISIBLE_CHARACTERS = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))


def is_credential_field_name(field_name: str) -> bool:
    """Tell whether a field of this name would hold a credential."""
    return _normalized_credential_name(field_name) is not None


def find_credentials(value: Any, *, path: str, on_progress: ProgressCallback = lambda _: None) -> Iterator[str]:
    """Yield the path of every key or text inside a JSON value that looks like a credential; never the value.

    `on_progress` is called again and again, with how many characters have been looked at since.
    """
    # Put together for what is found alone: a key may be as long as a configuration, with as many values inside.
    path_parts = [path]
    for _ in _find_credentials(value, path_parts, on_progress):
        yield "".join(path_parts)


def _find_credentials(value: Any, path_parts: list[str], on_progress: ProgressCallback) -> Iterator[None]:
    """Yield whenever `path_parts` lead to what looks like a credential."""
    if isinstance(value, dict):
        value_key = _credential_value_key_of_pair(value)
        for key, inner in value.items():
            if _text_holds_credential(key, on_progress):
                # Not by its own name, which would repeat it.
                yield
                continue
            path_parts.append(f".{key}")
            if is_credential_field_name(key) or (key == value_key and _is_set(value[value_key])):
                yield
            else:
                yield from _find_credentials(inner, path_parts, on_progress)
            path_parts.pop()
    elif isinstance(value, list):
        is_pair = len(value) == 2 and all(isinstance(each, str) for each in value)  # noqa: PLR2004
        if is_pair and _is_credential_assignment(*value, must_look_random=True):
            path_parts.append("[1]")
            yield
            path_parts.pop()
            return
        for index, inner in enumerate(value):
            path_parts.append(f"[{index}]")
            yield from _find_credentials(inner, path_parts, on_progress)
            path_parts.pop()
    elif isinstance(value, str):
        if _text_holds_credential(value, on_progress):
            yield
    else:
        on_progress(COST_PER_VALUE)


def _normalized_credential_name(key: str) -> str | None:
    """Return the name of a credential's field without case, joints and what trails it; None for any other field."""
    words = [word.lower() for word in _WORD_PATTERN.findall(_normalize_letters(key[-256:]))]
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _TRAILING_WORDS or re.fullmatch(r"v\d*", words[-1])):
        words.pop()
    bare = "".join(words)
    is_secret = bare in _SECRET_FIELD_NAMES or bare.endswith(_SECRET_FIELD_SUFFIXES)
    return bare if is_secret or (words and words[-1] in _SECRET_LAST_WORDS) else None


def _credential_value_key_of_pair(value: dict[str, Any]) -> str | None:
    """Return the key in an object of a name and a value whose name is a credential's, if it is such a pair."""
    lowered = {key.lower(): key for key in value}
    names = (value[lowered[each]] for each in _PAIR_NAME_KEYS if each in lowered)
    name = next((each for each in names if isinstance(each, str)), None)
    value_key = next((lowered[each] for each in _PAIR_VALUE_KEYS if each in lowered), None)
    if name is None or value_key is None:
        return None
    bare = _normalized_credential_name(name)
    if bare is None or (bare in _AMBIGUOUS_FIELD_NAMES and not _looks_random(str(value[value_key]))):
        return None
    return value_key


def _is_set(value: Any) -> bool:
    return not (value is None or isinstance(value, bool) or value in ("", [], {}))


def _text_holds_credential(text: str, on_progress: ProgressCallback) -> bool:
    text = _normalize_letters(text, on_progress)
    if "%" in text and (decoded := unquote(text)) != text and _plain_text_holds_credential(decoded, on_progress):
        return True
    return _plain_text_holds_credential(text, on_progress)


def _plain_text_holds_credential(text: str, on_progress: ProgressCallback) -> bool:
    for start in range(0, len(text), SCAN_CHUNK_LENGTH):
        end = min(start + SCAN_CHUNK_LENGTH + SCAN_CHUNK_OVERLAP, len(text))
        if _chunk_holds_credential(text, start, end):
            return True
        on_progress(end - start + COST_PER_VALUE)
    return False


def _chunk_holds_credential(text: str, start: int, end: int) -> bool:
    """Tell whether a credential begins in a piece of a text; of one that the piece's end cuts, the next one tells."""

    def matches(pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        return (match for match in pattern.finditer(text, start, end) if match.end() < end or end == len(text))

    if any(matches(CREDENTIAL_PATTERN)) or any(matches(_SPACED_NAME_PATTERN)):
        return True
    for match in matches(_ASSIGNMENT_PATTERN):
        name, given, tag, inside, option, argument = match.groups()
        if option is None and _is_credential_assignment(name or tag, given or inside, must_look_random=False):
            return True
        if option is not None and _is_credential_assignment(option, argument, must_look_random=True):
            return True
    return any(_is_basic_auth_value(match[1]) for match in matches(_BASIC_AUTH_PATTERN))


def _is_credential_assignment(name: str, given: str, *, must_look_random: bool) -> bool:
    """Tell whether a name is a credential's and is given one, which with `must_look_random` has to look like one."""
    bare = _normalized_credential_name(name)
    if given.strip(".,;)").lower() in _PLACEHOLDER_WORDS or _PLACEHOLDER_PATTERN.match(given):
        return False
    return bare is not None and ((not must_look_random and bare not in _AMBIGUOUS_FIELD_NAMES) or _looks_random(given))


def _looks_random(text: str) -> bool:
    """Tell a text that nobody would write or read aloud: at least eight characters, letters and digits mixed."""
    if len(text) < 8 or re.search(r"\s", text) or re.match(r"[a-z]{2,9}://", text):  # noqa: PLR2004
        return False
    has_digit, has_letter = re.search(r"\d", text), re.search(r"[A-Za-z]", text)
    mixed = re.search(r"[a-z][A-Z]", text) and re.search(r"[A-Z][a-z]?[A-Z]", text)
    return bool(has_letter and (has_digit or mixed))


def _is_basic_auth_value(text: str) -> bool:
    """Tell whether a text is Basic authentication's: `user:password` in base64."""
    try:
        opened = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_" if set("-_") & set(text) else None)
        return ":" in opened.decode()
    except (binascii.Error, UnicodeDecodeError):
        return False


def _normalize_letters(text: str, on_progress: ProgressCallback = lambda _: None) -> str:
    """Return a text as it reads: letters of other widths as the usual ones, without what nobody sees."""
    if text.isascii():
        return text
    plain = []
    for start in range(0, len(text), NORMALIZATION_CHUNK_LENGTH):
        normalized = unicodedata.normalize("NFKC", text[start : start + NORMALIZATION_CHUNK_LENGTH])
        plain.append(normalized[: 3 * NORMALIZATION_CHUNK_LENGTH].translate(_INVISIBLE_CHARACTERS))
        on_progress(NORMALIZATION_CHUNK_LENGTH)
    return "".join(plain)
