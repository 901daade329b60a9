"""Keys and ciphers: master keys from the settings, a data key for each session, AES-256-GCM.

A session's parts are sealed with its own data key; the data key is kept in the record, wrapped
under a master key. Deleting the record therefore destroys what can be read, and rotating a master
key means wrapping data keys again, not rewriting states.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from raypool.errors import ErrorCodes, create_error

KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_BYTES = 4
_MAGIC = b"RP1"


@dataclass(frozen=True)
class DataKey:
    """The key of one session. Never shown."""

    secret: bytes

    @classmethod
    def new(cls) -> Self:
        """Return a fresh key."""
        return cls(os.urandom(KEY_BYTES))

    def __repr__(self) -> str:
        return "DataKey([hidden])"

    def digest(self, name: str, content: bytes) -> str:
        """Return the keyed digest that names a content: equal only within one session and part."""
        keyed = hashlib.blake2b(key=self.secret, digest_size=16, person=b"raypool.part")
        keyed.update(len(name).to_bytes(4) + name.encode() + content)
        return keyed.hexdigest()

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt *plain*; *about* must be given again to read it."""
        return _seal(self.secret, _key_id(self.secret), plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Decrypt what :meth:`seal` made.

        Raises:
            CheckpointCorrupt: It was changed, cut, or belongs elsewhere.
        """
        key_id, nonce, body = _split(sealed)
        if key_id != _key_id(self.secret):
            raise create_error(ErrorCodes.STORAGE_CORRUPT, "it was sealed for another session")
        return _open(self.secret, nonce, body, sealed, about)


class Keyring:
    """Master keys: the first writes, all read. Its ``repr`` shows their ids only."""

    def __init__(self, keys: Mapping[bytes, bytes], writer: bytes) -> None:
        self._keys, self._writer = dict(keys), writer

    @classmethod
    def parse(cls, text: SecretStr) -> Self:
        """Return the keyring of ``RAYPOOL_ENCRYPTION_KEYS``.

        Raises:
            ConfigurationError: A key is not base64 of 32 bytes.
        """
        secrets = [_decoded(item, n) for n, item in enumerate(_items(text), start=1)]
        if not secrets:
            raise create_error(
                ErrorCodes.CONFIG_ENCRYPTION_KEY, "RAYPOOL_ENCRYPTION_KEYS is set but empty"
            )
        return cls({_key_id(s): s for s in secrets}, _key_id(secrets[0]))

    @staticmethod
    def generate() -> str:
        """Return a new key as text for ``RAYPOOL_ENCRYPTION_KEYS``."""
        return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the keys, which may be shown; that of the writing key comes first."""
        return tuple(key_id.hex() for key_id in self._keys)

    def wrap(self, data_key: DataKey, about: bytes) -> str:
        """Return *data_key* sealed with the writing key, as text."""
        sealed = _seal(self._keys[self._writer], self._writer, data_key.secret, about)
        return base64.b64encode(sealed).decode()

    def unwrap(self, text: str, about: bytes) -> DataKey:
        """Return the data key in *text*.

        Raises:
            StorageError: It was wrapped with a key that is not in the ring (names its id).
            CheckpointCorrupt: It was changed.
        """
        sealed = _unpacked(text)
        key_id, nonce, body = _split(sealed)
        if key_id not in self._keys:
            raise create_error(
                ErrorCodes.STORAGE_KEY_UNKNOWN,
                f"the data was encrypted with key {key_id.hex()}; RAYPOOL_ENCRYPTION_KEYS holds "
                f"{', '.join(self.ids)}",
                {"key_id": key_id.hex()},
            )
        return DataKey(_open(self._keys[key_id], nonce, body, sealed, about))

    def rewrap(self, text: str, about: bytes) -> str | None:
        """Return the data key in *text* wrapped with the writing key; None when it is already.

        Raises:
            StorageError: As :meth:`unwrap`.
        """
        data_key = self.unwrap(text, about)
        return None if wrapped_with(text) == self._writer.hex() else self.wrap(data_key, about)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.ids)})"


def wrapped_with(text: str) -> str:
    """Return the id of the master key that a data key is wrapped with.

    Raises:
        CheckpointCorrupt: It is no wrapped key.
    """
    return _split(_unpacked(text))[0].hex()


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise create_error(ErrorCodes.STORAGE_CORRUPT, "a wrapped key is not base64") from error


def _items(text: SecretStr) -> list[str]:
    return [item.strip() for item in text.get_secret_value().split(",") if item.strip()]


def _decoded(item: str, number: int) -> bytes:
    try:
        secret = base64.b64decode(item.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise create_error(
            ErrorCodes.CONFIG_ENCRYPTION_KEY,
            f"key {number} of RAYPOOL_ENCRYPTION_KEYS is not base64 of {KEY_BYTES} bytes",
        )
    return secret


def _key_id(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=_ID_BYTES, person=b"raypool.key").digest()


def _seal(secret: bytes, key_id: bytes, plain: bytes, about: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    head = _MAGIC + key_id + nonce
    return head + AESGCM(secret).encrypt(nonce, plain, head + about)


def _split(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    head = len(_MAGIC) + _ID_BYTES + _NONCE_BYTES
    if len(sealed) < head or not hmac.compare_digest(sealed[: len(_MAGIC)], _MAGIC):
        raise create_error(ErrorCodes.STORAGE_CORRUPT, "it is not something that raypool sealed")
    key_id = sealed[len(_MAGIC) : len(_MAGIC) + _ID_BYTES]
    return key_id, sealed[len(_MAGIC) + _ID_BYTES : head], sealed[head:]


def _open(secret: bytes, nonce: bytes, body: bytes, sealed: bytes, about: bytes) -> bytes:
    head = sealed[: len(sealed) - len(body)]
    try:
        return AESGCM(secret).decrypt(nonce, body, head + about)
    except InvalidTag as error:
        raise create_error(
            ErrorCodes.STORAGE_CORRUPT, "it was changed after it was sealed, or belongs elsewhere"
        ) from error
