"""Keep secrets out of what people read: logs, errors, ``repr``, events.

Two nets, because one is never enough: a *name* that sounds like a secret hides its value, and text
that looks like a credential (a password in a URL, a bearer token) is cut out wherever it stands.
"""

import re
from collections.abc import Mapping

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token(?!_?version)|api_?key|encryption_?key|private_?key"
    r"|authorization|cookie|credential|otp|storage_state|storage_json|data_?key|session_?key",
    re.IGNORECASE,
)
# A fencing token is a public number: people need it to tell two owners apart.
_PUBLIC_NAMES = frozenset({"fencing_token", "token", "cookies_count", "cookie_count"})
_CREDENTIALS = (
    (
        re.compile(r"(?P<keep>[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE),
        r"\g<keep>:[hidden]@",
    ),
    (
        re.compile(r"(?P<keep>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
        r"\g<keep>[hidden]",
    ),
    (
        re.compile(
            r"(?P<keep>\b(?:password|passwd|secret|api_?key|access_token|otp)\b[\"']?\s*[=:]\s*)[\"']?[^\s\"',;&}]+",
            re.IGNORECASE,
        ),
        r"\g<keep>[hidden]",
    ),
)


def redact_text(text: str) -> str:
    """Return *text* with whatever looks like a credential replaced by ``[hidden]``."""
    for pattern, replacement in _CREDENTIALS:
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
    if name and is_secret_name(name) and value not in (None, "", 0, False):
        return HIDDEN
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {str(k): redact(v, name=str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return redact_text(str(value))
