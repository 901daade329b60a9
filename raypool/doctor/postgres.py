"""Postgres of a neighbouring service: does one listen where DATABASE_URL points?"""

import asyncio
import struct
from contextlib import suppress

from raypool.config import Settings
from raypool.doctor.address import ENCODE, Address, advice, read_address
from raypool.doctor.report import Check, Level

_NAME = "postgres"
_PORT = 5432
_SSL_REQUEST = struct.pack("!II", 8, 80877103)
# Exactly one of these and then silence. An SSH server, too, begins with an S.
_ANSWERS = {b"S": "offers TLS", b"N": "without TLS"}


async def check_postgres(settings: Settings) -> Check:
    """Does a Postgres answer? Asks for TLS, which it answers before anybody signs in."""
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    address = read_address(url, _PORT)
    if address is None or not address.scheme.startswith("postgres"):
        do = f"Write it as postgresql://user:password@host:5432/name. {ENCODE}"
        return Check(_NAME, Level.FAIL, "DATABASE_URL cannot be read as a Postgres URL", do)
    host, _ = address.hosts[0]
    if not host:
        do = "Try `psql` with the same DATABASE_URL; only TCP addresses are checked here."
        return Check(_NAME, Level.WARN, "DATABASE_URL names no host: a unix socket, not tried", do)
    return await _ask(address)


async def _ask(address: Address) -> Check:
    host, port = address.hosts[0]
    try:
        answer = await _answer(host, port)
    except OSError as error:
        saw = f"{address.shown} cannot be reached: {error.strerror or error}"
        return Check(_NAME, Level.FAIL, saw, advice(error, "DATABASE_URL"))
    if answer in _ANSWERS:
        saw = f"Postgres at {address.shown}, {_ANSWERS[answer]}; credentials were not tried"
        return Check(_NAME, Level.OK, saw)
    do = "Correct host and port in DATABASE_URL, or look at what listens there."
    saw = f"What listens at {host}:{port} does not speak Postgres"
    return Check(_NAME, Level.FAIL, saw, do)


async def _answer(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_SSL_REQUEST)
        await writer.drain()
        return await reader.read(64)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
