"""What holds for every content that is sealed, and for every way to damage it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.errors import CheckpointCorrupt
from raypool.store.codec import Codec
from raypool.store.crypto import DataKey

KEY = DataKey(bytes(range(32)))
contents = st.binary(max_size=300) | st.binary(max_size=4).map(lambda piece: piece * 5000)
names = st.text(min_size=1, max_size=30)
places = st.tuples(names, names, names)  # prefix, session, part


@given(places, contents)
def test_what_is_sealed_comes_back(place: tuple[str, str, str], plain: bytes) -> None:
    """Byte for byte, under any name."""
    prefix, session, part = place
    sealed = Codec(KEY, prefix, session).seal(part, plain)
    assert Codec(KEY, prefix, session).open(part, sealed) == plain


@given(contents, st.data())
def test_a_changed_byte_is_noticed(plain: bytes, data: st.DataObject) -> None:
    """Wherever it is: magic, key id, nonce, content or tag."""
    codec = Codec(KEY, "fleet:", "00-a")
    sealed = bytearray(codec.seal("cookies", plain))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CheckpointCorrupt):
        codec.open("cookies", bytes(sealed))


@given(contents, st.data())
def test_a_cut_or_longer_part_is_noticed(plain: bytes, data: st.DataObject) -> None:
    """As a full disk or a careless copy leaves it."""
    codec = Codec(KEY, "fleet:", "00-a")
    sealed = codec.seal("cookies", plain)
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for changed in (cut, sealed + data.draw(st.binary(min_size=1, max_size=20))):
        with pytest.raises(CheckpointCorrupt):
            codec.open("cookies", changed)


@given(places, contents, st.data())
def test_a_part_opens_only_where_it_belongs(
    place: tuple[str, str, str], plain: bytes, data: st.DataObject
) -> None:
    """Not in another fleet, another session or as another part, even with the right key."""
    prefix, session, part = place
    sealed = Codec(KEY, prefix, session).seal(part, plain)
    which = data.draw(st.integers(0, 2))
    other = list(place)
    other[which] = data.draw(names.filter(lambda name: name != place[which]))
    with pytest.raises(CheckpointCorrupt):
        Codec(KEY, other[0], other[1]).open(other[2], sealed)


@given(contents, st.binary(min_size=32, max_size=32).filter(lambda secret: secret != KEY.secret))
def test_another_key_opens_nothing(plain: bytes, secret: bytes) -> None:
    """Each session has a key of its own."""
    sealed = Codec(KEY, "fleet:", "00-a").seal("cookies", plain)
    with pytest.raises(CheckpointCorrupt):
        Codec(DataKey(secret), "fleet:", "00-a").open("cookies", sealed)
