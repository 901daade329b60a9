"""Keep secrets out of what people read: logs, errors, ``repr``, events.

Two nets, because one is never enough: a *name* that sounds like a secret hides its value, and text
that looks like a credential (a password in a URL, a bearer token, what was typed into a field) is
cut out wherever it stands. Where the nets cannot be sure they hide too much rather than too little.
"""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token(?!_?version)|api_?key|encryption_?key|private_?key"
    r"|authorization|cookie|credential|storage_state|storage_json|data_?key|session_?key"
    # A footprint is no one-time password; a status code is no code that somebody must type.
    r"|(?<![a-z])[th]?otp(?![a-z])|otp_?(code|secret)"
    r"|(verification|recovery|backup|sms|mfa|two_?factor|one_?time)_?code",
    re.IGNORECASE,
)
# A fencing token is a public number: people need it to tell two owners apart.
_PUBLIC_NAMES = frozenset({"fencing_token", "token", "cookies_count", "cookie_count"})

_VALUE = (
    r"""(?:\\+["'].*?\\+["']|[bru]{0,2}"(?:[^"\\]|\\.)*"|[bru]{0,2}'(?:[^'\\]|\\.)*'"""
    r"""|[^\s"',;&})]+)"""
)
_CREDENTIALS = (
    # In a URL. The password reaches to the last @ of the host part; one with a slash in it, which
    # is no URL any more but what people paste, to the next @. `user:password@` is an example.
    (
        r"(?P<keep>://[^\s:/@]*):(?!password@)(?:[^\s/]+|(?!\d{1,5}[/?#])[^\s@]{1,512})@",
        r"\g<keep>:[hidden]@",
    ),
    # In a header.
    (
        r"(?P<keep>\b(?:bearer|basic)\s+)(?!auth|credential|token|access)[\w.~+/=-]{8,}",
        r"\g<keep>[hidden]",
    ),
    (r"(?P<keep>\bcookie[\"']?\s*[:=]\s*[\"']?)[^\s\"'=;,]+=[^\r\n\"']*", r"\g<keep>[hidden]"),
    # By name, as in a query string, JSON, keyword arguments or a repr.
    (
        r"(?P<keep>(?:password|passwd|passphrase|secret|api_?key|private_?key|cookie_value"
        r"|(?:access|refresh|auth|api|bearer|csrf|id)_token|\b[th]?otp|[_-][th]?otp)"
        rf"(?:_\w+)?\\*[\"']?\s*[=:]\s*){_VALUE}",
        r"\g<keep>[hidden]",
    ),
    # Typed into a page: Playwright's call log and the caller's own line in a traceback. The text is
    # not escaped there, so it ends with the quote and bracket that end a line or a value.
    (
        r"(?P<keep>\b(?:fill|type|press_?sequentially|insert_?text)\()(?:\w+\s*=\s*)?\\*[\"']"
        r"(?s:.*?)(?:[\"'](?:\s*,[^\n\"']*)?\s*\)(?=\s*(?:$|\\n|[\"'\])},;]))|\Z)",
        r"\g<keep>[hidden])",
    ),
)
_NETS = tuple((re.compile(p, re.IGNORECASE | re.MULTILINE), to) for p, to in _CREDENTIALS)


def redact_text(text: str) -> str:
    """Return *text* with whatever looks like a credential replaced by ``[hidden]``."""
    for pattern, replacement in _NETS:
        text = pattern.sub(replacement, text)
    return text


def is_secret_name(name: str) -> bool:
    """Tell whether a field called *name* may hold a secret."""
    return name not in _PUBLIC_NAMES and _SECRET_NAME.search(name) is not None


def redact(value: object, *, name: str = "") -> object:
    """Return *value* fit for people: secrets hidden, nested mappings and sequences walked.

    Args:
        value: Anything that is about to be logged or shown. It is not changed.
        name: The field that holds it; a name that sounds like a secret hides the value whole.

    Returns:
        Text, numbers, booleans and None, in the shape of *value*.
    """
    if name and _hides(name, value):
        return HIDDEN
    if isinstance(value, Mapping):
        return redacted_fields(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return redact_text(str(value))


def redacted_fields(fields: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a copy of *fields* fit for people; see :func:`redact`."""
    return {redact_text(str(k)): redact(v, name=_meant(k, fields)) for k, v in fields.items()}


def _hides(name: str, value: object) -> bool:
    if name == "token":  # a fencing token when it is a number, somebody's credential when it is not
        return not (value is None or isinstance(value, int) or str(value).isdigit())
    return is_secret_name(name) and value not in (None, "", 0, False)


def _meant(key: object, entry: Mapping[Any, Any]) -> str:
    """Return what a key stands for: the value beside a name is a cookie's or a header's."""
    return "cookie_value" if key == "value" and "name" in entry else str(key)
