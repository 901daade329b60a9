"""Where the encryption keys come from: the setting, or a key file beside the embedded server."""

import contextlib
import os
from pathlib import Path

from pydantic import SecretStr

from raypool.config import Settings
from raypool.errors import ErrorCodes, create_error
from raypool.logs import get_logger
from raypool.store.crypto import Keyring

log = get_logger(__name__)


def keyring_for(settings: Settings, *, embedded: bool) -> tuple[Keyring, SecretStr]:
    """Return the keyring and the text that it was made from.

    Args:
        settings: ``RAYPOOL_ENCRYPTION_KEYS`` comes first.
        embedded: The data is the embedded server's, on this machine: a key file (0600) in the data
            directory will do, made when missing.

    Raises:
        ConfigurationError: The keys are malformed, or an external Redis has none.
    """
    if settings.encryption_keys is not None:
        return Keyring.parse(settings.encryption_keys), settings.encryption_keys
    if not embedded:
        raise create_error(
            ErrorCodes.CONFIG_ENCRYPTION_KEY,
            "REDIS_URL is set but RAYPOOL_ENCRYPTION_KEYS is not: sessions are never stored in plain",
            recovery="Run `raypool keys generate` once and set RAYPOOL_ENCRYPTION_KEYS to what it "
            "prints, here and wherever else the same Redis is used.",
        )
    text = SecretStr(_read_or_make(settings.data_dir / "encryption.key"))
    return Keyring.parse(text), text


def _read_or_make(path: Path) -> str:
    """Return the key in *path*, made and on disk, whole, before anything is encrypted with it."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(Keyring.generate())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # somebody was faster: theirs counts
            os.link(fresh, path)
            log.info("encryption key made", path=str(path))
        fresh.unlink()
        _sync(path.parent)
    return path.read_text().strip()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
