"""Bytes of a part, at rest: zstd, then AES-256-GCM bound to prefix, session and part name."""

import zstandard

from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.store.crypto import DataKey

MAX_PLAIN_BYTES = 256 * 2**20
_LEVEL = 1  # faster and, on browser states, no larger than higher levels


class Codec:
    """Seals and opens the parts of one session.

    Args:
        key: The session's data key.
        prefix: Key prefix: a part copied into another fleet does not open.
        session_id: A part copied into another session does not open.
    """

    def __init__(self, key: DataKey, prefix: str, session_id: str) -> None:
        self._key, self._about = key, f"{prefix}\x00{session_id}\x00".encode()

    def digest(self, name: str, plain: bytes) -> str:
        """Return the name of this content in the parts hash."""
        return self._key.digest(name, plain)

    def seal(self, name: str, plain: bytes) -> bytes:
        """Compress and encrypt a part.

        Raises:
            ConfigurationError: It is larger than what :meth:`open` would read back.
        """
        if len(plain) > MAX_PLAIN_BYTES:
            raise too_large(name, len(plain))
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
        return self._key.seal(packed, self._about + name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """Return the plain bytes of a part.

        Raises:
            CheckpointCorrupt: It cannot be read back; names the part.
        """
        packed = self._key.open(sealed, self._about + name.encode())
        try:
            size = zstandard.frame_content_size(packed)
            if size > MAX_PLAIN_BYTES:
                raise create_error(ErrorCodes.STORAGE_CORRUPT, f"part {name!r} is too large")
            return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_PLAIN_BYTES)
        except zstandard.ZstdError as error:
            raise create_error(
                ErrorCodes.STORAGE_CORRUPT, f"part {name!r} cannot be unpacked"
            ) from error


def too_large(name: str, size: int) -> RaypoolError:
    """Return the error for a part that could not be read back."""
    return create_error(
        ErrorCodes.CONFIG_INVALID_ARGUMENT,
        f"part {name!r} has {size} bytes: at most {MAX_PLAIN_BYTES} can be kept",
        recovery="Let the site keep less in its storage, or clear it there.",
    )
