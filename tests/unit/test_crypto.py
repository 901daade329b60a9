"""Keys and ciphers: what they open, what they refuse, and that they never show a secret."""

import base64

import pytest
from pydantic import SecretStr

from raypool.errors import CheckpointCorrupt, ConfigurationError, ErrorCodes, StorageError
from raypool.store import codec as codecs
from raypool.store.codec import Codec
from raypool.store.crypto import KEY_BYTES, DataKey, Keyring

ABOUT = b"fleet:\x00session\x00key"


def ring(*keys: str) -> Keyring:
    return Keyring.parse(SecretStr(",".join(keys)))


def test_a_generated_key_is_a_keyring() -> None:
    """What `raypool keys generate` prints is what the setting takes; no two are the same."""
    one, other = Keyring.generate(), Keyring.generate()
    assert len(base64.urlsafe_b64decode(one)) == KEY_BYTES
    assert ring(one).ids != ring(other).ids


def test_both_alphabets_of_base64_are_read() -> None:
    """`openssl rand -base64 32` makes the other one; spaces and a last comma do no harm."""
    secret = b"\xfb\xff" * 16
    plain, urlsafe = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()
    assert plain != urlsafe
    assert ring(plain).ids == ring(f" {urlsafe} ", "").ids


@pytest.mark.parametrize(
    "text", ["short", "A" * 43, "$" * 44, base64.b64encode(b"x" * 33).decode()]
)
def test_a_text_that_is_no_key_is_refused_without_showing_it(text: str) -> None:
    """The message says which of the keys it is."""
    with pytest.raises(ConfigurationError, match="key 2 of RAYPOOL_ENCRYPTION_KEYS") as caught:
        ring(Keyring.generate(), text)
    assert caught.value.code is ErrorCodes.CONFIG_ENCRYPTION_KEY
    assert text not in f"{caught.value!r}{caught.value.context}{caught.value.recovery}"


@pytest.mark.parametrize("text", ["", " , "])
def test_an_empty_setting_is_refused(text: str) -> None:
    """It is never taken for "no encryption"."""
    with pytest.raises(ConfigurationError) as caught:
        ring(text)
    assert caught.value.code is ErrorCodes.CONFIG_ENCRYPTION_KEY


def test_a_wrapped_key_opens_with_the_keyring_that_wrapped_it() -> None:
    """And is another text each time, since each has a nonce of its own."""
    keys, key = ring(Keyring.generate()), DataKey.new()
    one, other = keys.wrap(key, ABOUT), keys.wrap(key, ABOUT)
    assert one != other
    assert keys.unwrap(one, ABOUT) == keys.unwrap(other, ABOUT) == key


def test_the_first_key_writes_and_all_read() -> None:
    """So a new key is put in front, and the old one stays until nothing needs it."""
    old, new = Keyring.generate(), Keyring.generate()
    key = DataKey.new()
    before = ring(old).wrap(key, ABOUT)
    assert ring(new, old).unwrap(before, ABOUT) == key
    after = ring(new, old).wrap(key, ABOUT)
    assert ring(new).unwrap(after, ABOUT) == key


def test_an_unknown_key_is_named() -> None:
    """A missing key is not damage: the message says which one to add."""
    stranger, keys = ring(Keyring.generate()), ring(Keyring.generate())
    with pytest.raises(StorageError, match=stranger.ids[0]) as caught:
        keys.unwrap(stranger.wrap(DataKey.new(), ABOUT), ABOUT)
    assert caught.value.code is ErrorCodes.STORAGE_KEY_UNKNOWN
    assert not isinstance(caught.value, CheckpointCorrupt)


def test_a_wrapped_key_belongs_where_it_was_wrapped() -> None:
    """One that was copied into another session's record does not open."""
    keys = ring(Keyring.generate())
    with pytest.raises(CheckpointCorrupt):
        keys.unwrap(keys.wrap(DataKey.new(), ABOUT), ABOUT + b"x")


@pytest.mark.parametrize(
    "text", ["", "not base64!", "QUJD", base64.b64encode(b"RP1" + b"x" * 9).decode()]
)
def test_what_is_no_wrapped_key_is_damage(text: str) -> None:
    """Whatever stands in the record."""
    with pytest.raises(CheckpointCorrupt):
        ring(Keyring.generate()).unwrap(text, ABOUT)


def test_secrets_are_not_shown() -> None:
    """A key that gets into a log line or a traceback by mistake shows its id at most."""
    text, key = Keyring.generate(), DataKey.new()
    shown = f"{ring(text)!r} {key!r} {ring(text)} {key}"
    assert text not in shown
    assert key.secret.hex() not in shown
    assert repr(key.secret)[2:10] not in shown


def test_a_digest_names_one_content_of_one_part_of_one_session() -> None:
    """Equal names mean equal content, and nobody without the key can guess a content by its name."""
    key = DataKey.new()
    assert key.digest("cookies", b"x") == key.digest("cookies", b"x")
    others = [
        key.digest("cookies", b"y"),
        key.digest("tabs", b"x"),
        key.digest("cookiesx", b""),
        DataKey.new().digest("cookies", b"x"),
    ]
    assert len({key.digest("cookies", b"x"), *others}) == 5


def test_a_part_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes that unpack to gigabytes do not take the memory of a node."""
    codec = Codec(DataKey.new(), "fleet:", "00-a")
    sealed = codec.seal("cookies", bytes(2**16))
    assert len(sealed) < 200
    monkeypatch.setattr(codecs, "MAX_PLAIN_BYTES", 2**16 - 1)
    with pytest.raises(CheckpointCorrupt, match="cookies"):
        codec.open("cookies", sealed)


def test_a_part_that_could_not_be_read_back_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when it is saved, while the one before it is still there."""
    monkeypatch.setattr(codecs, "MAX_PLAIN_BYTES", 8)
    codec = Codec(DataKey.new(), "fleet:", "00-a")
    assert codec.open("cookies", codec.seal("cookies", bytes(8))) == bytes(8)
    with pytest.raises(ConfigurationError, match="part 'cookies' has 9 bytes"):
        codec.seal("cookies", bytes(9))
