"""A session in one file: compressed, encrypted under a passphrase, whole or refused. Pure.

====================  ==========================================================================
bytes                 what
====================  ==========================================================================
8                     ``RAYPOOLX``
1                     version of the format: 1
1, 1, 1               Scrypt: log2 of N, r, p
16                    Scrypt: salt
12                    nonce
32                    HMAC-SHA256 of all before, under the second half of the key
up to the last 32     AES-256-GCM under the first half of the key; all before is associated data
32                    SHA-256 of all before
====================  ==========================================================================

Scrypt gives 64 bytes. Inside is a zstd frame: 4 bytes that tell how long the head is, the head
(JSON), then the parts in the order of the head. The digest at the end tells a damaged file from a
wrong passphrase, as the file format of scrypt(1) does; the tag tells what was forged.
"""

import hashlib
import hmac
import os
import struct
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import Field, ValidationError

from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.model import SignIn
from raypool.spec import Frozen, SessionSpec

MAX_BYTES = 256 * 2**20
"""Of a state, and of a file."""
LONGEST_PASSPHRASE = 1024

_MAGIC, _VERSION = b"RAYPOOLX", 1
_HEAD = struct.Struct("!8sBBBB16s12s")
_LENGTH = struct.Struct("!I")
_DIGEST = 32
_LEVEL = 3
_MOST_SCRYPT_BYTES = 2**28


@dataclass(frozen=True)
class Cost:
    """What one guess at the passphrase costs: the parameters of Scrypt (RFC 7914)."""

    log_n: int = 17
    r: int = 8
    p: int = 1

    @property
    def fits(self) -> bool:
        """Whether it is sane: a file must not make its reader use more than 256 MB."""
        bounded = 1 <= self.log_n <= 24 and 1 <= self.r <= 32 and 1 <= self.p <= 16  # noqa: PLR2004
        return bounded and 128 * self.r << self.log_n <= _MOST_SCRYPT_BYTES


STRONG = Cost()
"""128 MB and about half a second a guess; OWASP's recommendation for Scrypt."""


class ExportedPart(Frozen):
    """A part of an exported state, by name and size."""

    name: str = Field(min_length=1)
    size: int = Field(ge=0, le=MAX_BYTES)


class ExportHead(Frozen):
    """What an export tells beside the state itself."""

    business_id: str
    email: str | None = None
    spec: SessionSpec = SessionSpec()
    version: int
    created_at: datetime
    exported_at: datetime
    sign_in: SignIn = SignIn.UNKNOWN
    warnings: tuple[str, ...] = ()


class _Contents(Frozen):
    about: ExportHead
    parts: tuple[ExportedPart, ...]


@dataclass(frozen=True)
class Export:
    """An exported session. Its ``repr`` shows names and sizes, never contents."""

    about: ExportHead
    parts: Mapping[str, bytes]

    def __repr__(self) -> str:
        sizes = {name: len(data) for name, data in sorted(self.parts.items())}
        return f"Export({self.about.business_id!r}, version={self.about.version}, parts={sizes})"


def is_export(data: bytes) -> bool:
    """Tell whether a file's bytes begin as an export does."""
    return data.startswith(_MAGIC)


def seal_export(export: Export, passphrase: str, cost: Cost = STRONG) -> bytes:
    """Return the bytes of the file.

    Raises:
        ConfigurationError: The state is larger than 256 MB, or the passphrase does not fit.
    """
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(_pack(export))
    salt, nonce = os.urandom(16), os.urandom(12)
    head = _HEAD.pack(_MAGIC, _VERSION, cost.log_n, cost.r, cost.p, salt, nonce)
    key, check = _derive(passphrase, salt, cost)
    head += hmac.digest(check, head, "sha256")
    body = head + AESGCM(key).encrypt(nonce, packed, head)
    return body + hashlib.sha256(body).digest()


def open_export(data: bytes, passphrase: str) -> Export:
    """Return what :func:`seal_export` put into the file.

    Raises:
        ConfigurationError: It is no export, is of a newer format, or the passphrase is wrong.
        CheckpointCorrupt: It was damaged or changed.
    """
    body, cost, salt, nonce = _checked(data)
    key, check = _derive(passphrase, salt, cost)
    head = body[: _HEAD.size + _DIGEST]
    given = head[_HEAD.size :]
    if not hmac.compare_digest(given, hmac.digest(check, head[: _HEAD.size], "sha256")):
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            "the passphrase is not the one that the file was exported with",
            recovery="The file itself is whole. Without its passphrase nothing can open it.",
        )
    try:
        packed = AESGCM(key).decrypt(nonce, body[len(head) :], head)
    except InvalidTag as error:
        raise _damaged("it was changed after it was exported") from error
    return _unpack(_decompressed(packed))


def _checked(data: bytes) -> tuple[bytes, Cost, bytes, bytes]:
    """Return the file without its digest, and what its head says."""
    if not is_export(data):
        raise create_error(ErrorCodes.CONFIG_INVALID_ARGUMENT, "the file is no export of raypool")
    if len(data) < _HEAD.size + 2 * _DIGEST:
        raise _damaged("it is cut off")
    body = data[:-_DIGEST]
    if not hmac.compare_digest(data[-_DIGEST:], hashlib.sha256(body).digest()):
        raise _damaged("it was changed or cut off, whatever the passphrase is")
    _, version, *numbers, salt, nonce = _HEAD.unpack_from(body)
    if version != _VERSION:
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"the export has format {version}, this raypool reads {_VERSION}",
            recovery="Use the raypool that wrote it, or a newer one.",
        )
    cost = Cost(*numbers)
    if not cost.fits:
        raise _damaged(f"{cost} is nothing that raypool writes")
    return body, cost, salt, nonce


def _derive(passphrase: str, salt: bytes, cost: Cost) -> tuple[bytes, bytes]:
    secret = unicodedata.normalize("NFKC", passphrase).encode("utf-8", "surrogatepass")
    if not 0 < len(secret) <= LONGEST_PASSPHRASE:
        raise create_error(
            ErrorCodes.CONFIG_INVALID_ARGUMENT,
            f"the passphrase must have 1 to {LONGEST_PASSPHRASE} bytes, not {len(secret)}",
        )
    scrypt = Scrypt(salt=salt, length=64, n=1 << cost.log_n, r=cost.r, p=cost.p)
    derived = scrypt.derive(secret)
    return derived[:32], derived[32:]


def _pack(export: Export) -> bytes:
    parts = tuple(
        ExportedPart(name=name, size=len(data)) for name, data in sorted(export.parts.items())
    )
    head = _Contents(about=export.about, parts=parts).model_dump_json().encode()
    size = _LENGTH.size + len(head) + sum(part.size for part in parts)
    if size > MAX_BYTES:
        raise too_large(size)
    return b"".join((_LENGTH.pack(len(head)), head, *(export.parts[p.name] for p in parts)))


def _decompressed(packed: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(packed) > MAX_BYTES:
            raise _damaged("it would be larger than 256 MB")
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_BYTES)
    except zstandard.ZstdError as error:
        raise _damaged("it cannot be unpacked") from error


def _unpack(plain: bytes) -> Export:
    try:
        (length,) = _LENGTH.unpack_from(plain)
        at = _LENGTH.size + length
        contents = _Contents.model_validate_json(plain[_LENGTH.size : at])
    except (struct.error, ValidationError) as error:
        raise _damaged("what is inside is not what raypool exports") from error
    parts: dict[str, bytes] = {}
    for part in contents.parts:
        parts[part.name] = plain[at : at + part.size]
        at += part.size
    if at != len(plain) or len(parts) != len(contents.parts):
        raise _damaged("what is inside is not what raypool exports")
    return Export(contents.about, parts)


def too_large(size: int) -> RaypoolError:
    """Return the error for what is above the bound."""
    return create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT, f"{size} bytes are too many: at most {MAX_BYTES} fit"
    )


def _damaged(why: str) -> RaypoolError:
    return create_error(
        ErrorCodes.STORAGE_CORRUPT,
        f"the export is damaged: {why}",
        recovery="Copy the file again from where it was exported to, or export again.",
    )
