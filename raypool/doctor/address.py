"""Addresses with credentials in them: read without ever showing the credentials."""

import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from raypool.redaction import HIDDEN

ENCODE = "Percent-encode special characters of the password (@ is %40, / is %2F, # is %23)."


@dataclass(frozen=True)
class Address:
    """Where a URL points."""

    scheme: str
    hosts: tuple[tuple[str, int], ...]
    """Host and port of each; the host is empty when the URL has none."""
    path: str
    query: str
    """May hold credentials: not for people."""
    shown: str
    """The URL for people: no password, and nothing that may be one."""


def read_address(url: str, port: int) -> Address | None:
    """Return where *url* points, None when that cannot be told for sure.

    A password with a bare ``/``, ``?`` or ``#`` cuts the URL in the wrong place, and an error that
    quotes it would quote the password: so there is no error, and nothing of such a URL is shown.

    Args:
        url: With or without credentials; several hosts separated by commas.
        port: Where the URL names none.
    """
    try:
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        found = tuple(_host_and_port(host, port) for host in hosts.split(","))
    except ValueError:
        return None
    if "@" in parts.path + parts.query + parts.fragment:
        return None
    shown = f"{parts.scheme}://{_who(credentials)}{hosts}{parts.path}"
    return Address(parts.scheme, found, parts.path, parts.query, shown)


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "", parts.port or default


def _who(credentials: str) -> str:
    user, colon, _ = credentials.partition(":")
    if colon:
        return f"{user}:{HIDDEN}@"
    # A lone word is often a password that lacks its colon.
    return f"{HIDDEN}@" if credentials else ""


def advice(error: BaseException, setting: str) -> str:
    """Return what to do about a connection that failed with *error*, to where *setting* points."""
    causes = tuple(_causes(error))
    refused = f"Errno {errno.ECONNREFUSED}]"  # all that is left when several addresses were tried
    if any(refused in str(cause) for cause in causes):
        causes = (ConnectionRefusedError(),)
    for kind, what in (
        (ssl.SSLError, f"Check the certificate of the server and the TLS options in {setting}."),
        (socket.gaierror, f"Correct the host name in {setting}, or mend the name resolution here."),
        (ConnectionRefusedError, f"Start the server there, or correct host and port in {setting}."),
        (FileNotFoundError, f"Start the server, or correct the path of its socket in {setting}."),
        (PermissionError, f"Let this user use what {setting} points to."),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return what
    return f"Check that {setting} is right and that no firewall stands between this machine and it."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
