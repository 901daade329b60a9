"""What holds for every state that is cut, listed and named, and for every history of its versions."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.errors import CheckpointCorrupt, ConfigurationError
from raypool.model import CheckpointMeta
from raypool.store import pieces
from raypool.store.codec import Codec
from raypool.store.crypto import DataKey
from raypool.store.listing import LISTED_INLINE, Listing, arrange, decode, encode, listing_of
from raypool.store.manifests import Manifest, PartRef, Refs, digests
from raypool.store.pieces import open_piece, piece_name, refs_of, sealed_pieces
from raypool.store.references import References

KEY = DataKey(bytes(range(32)))
CODEC = Codec(KEY, "fleet:", "00-a")
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
few_names = st.integers(0, LISTED_INLINE + 20).map(lambda n: f"local:a#{n}/99")
refs = st.builds(PartRef, st.integers(0, 3), st.sampled_from(["a", "b", "c"]).map(lambda d: (d,)))
whole = {f"local:a#{n}/99": PartRef(1, ("a",)) for n in range(LISTED_INLINE + 10)}
changes = st.lists(st.dictionaries(few_names, st.none() | refs, max_size=8), max_size=6)


def digest(text: bytes) -> str:
    """Name a list."""
    return KEY.digest("list", text)


def over(state: Refs, change: dict[str, PartRef | None]) -> Refs:
    """Return the state with parts put or taken."""
    return {name: ref for name, ref in {**state, **change}.items() if ref is not None}


@given(changes)
def test_a_listing_depends_on_the_state_alone(history: list[dict[str, PartRef | None]]) -> None:
    """Whatever it was made from: equal states have equal lists, so what is equal is stored once."""
    state: Refs = dict(whole)
    listing = arrange(state, Listing(), digest)
    for change in history:
        state = over(state, change)
        listing = arrange(state, listing, digest)
        fresh = arrange(dict(reversed(state.items())), Listing(), digest)
        assert listing.lists == fresh.lists
        assert dict(listing.parts) == state
        again = listing_of(listing.lists.values())
        assert again.lists == dict(listing.lists)
        assert not listing.lists or dict(again.parts) == state


@given(few_names, refs)
def test_one_changed_part_changes_one_list(name: str, ref: PartRef) -> None:
    """And leaves the others as the very objects that they were."""
    before = arrange(whole, Listing(), digest)
    after = arrange({**whole, name: ref}, before, digest)
    kept = {number for number, one in after.lists.items() if before.lists.get(number) is one}
    assert len(after.lists) - len(kept) <= 1


@given(st.dictionaries(names, refs, max_size=6))
def test_a_list_comes_back_as_it_was_stored(parts: Refs) -> None:
    """Under any names."""
    assert decode(encode(parts)) == parts


def manifest(version: int, listing: Listing) -> Manifest:
    """Return a version with this listing."""
    parts = {} if listing.lists else dict(listing.parts)
    lists = tuple(one.digest for one in listing.lists.values())
    return Manifest(
        version=version, token=1, meta=CheckpointMeta(), size=0, parts=parts, lists=lists
    )


@given(changes, st.data())
def test_what_is_named_is_what_the_kept_versions_name(
    history: list[dict[str, PartRef | None]], data: st.DataObject
) -> None:
    """However versions come and go; a list that was unreadable counts once somebody can read it."""
    references, kept = References(), dict[int, Listing]()
    state: Refs = dict(whole)
    listing = arrange(state, Listing(), digest)
    readable: set[str] = set()
    for version, change in enumerate(history):
        state = over(state, change)
        listing = arrange(state, listing, digest)
        lists = {one.digest: one for one in listing.lists.values()}
        hidden = data.draw(st.sampled_from([None, None, *lists])) if lists else None
        visible = {d: one for d, one in lists.items() if d != hidden}
        references.add(manifest(version, listing), visible)
        readable |= visible.keys()
        kept[version] = listing
        if len(kept) > 2:
            gone = data.draw(st.sampled_from(sorted(kept)))
            references.drop(manifest(gone, kept.pop(gone)))
        named = {one.digest for found in kept.values() for one in found.lists.values()}
        readable &= named
        assert set(references.named) == _named(kept.values(), readable)


def _named(listings: Any, readable: set[str]) -> set[str]:
    found: set[str] = set()
    for listing in listings:
        if not listing.lists:
            found |= digests(listing.parts.values())
        for one in listing.lists.values():
            found |= {one.digest} | (
                digests(one.parts.values()) if one.digest in readable else set()
            )
    return found


@given(st.dictionaries(names, st.binary(max_size=40), max_size=6), st.sampled_from([1, 7, 100]))
def test_what_is_cut_comes_back_whole(parts: dict[str, bytes], size: int) -> None:
    """Part by part, piece by piece, and each digest is sent once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", size)
        found = refs_of(parts, CODEC, {})
        listing = arrange(found, Listing(), digest)
        sent = list(sealed_pieces(parts, listing, set(), CODEC))
        stored = dict(sent)
        assert len(sent) == len(stored)
        for name, ref in found.items():
            opened = [
                open_piece(CODEC, piece_name(name, n), one, stored[one])
                for n, one in enumerate(ref.pieces)
            ]
            assert b"".join(opened) == parts[name]
            assert ref.size == len(parts[name])
            assert all(len(piece) <= size for piece in opened)
        assert not list(sealed_pieces(parts, listing, set(stored), CODEC))


def test_pieces_do_not_open_at_another_place_of_their_part() -> None:
    """Nor does a missing one."""
    parts = {"a": os.urandom(3 * pieces.PIECE_BYTES)}
    ref = refs_of(parts, CODEC, {})["a"]
    stored = dict(sealed_pieces(parts, Listing({"a": ref}), set(), CODEC))
    first, second, _ = ref.pieces
    for name, one, data in (
        (piece_name("a", 0), first, stored[second]),
        (piece_name("a", 1), first, stored[first]),
        (piece_name("a", 0), first, None),
    ):
        with pytest.raises(CheckpointCorrupt):
            open_piece(CODEC, name, one, data)


def test_the_very_same_object_is_not_hashed_again() -> None:
    """And an equal one of another object is: it gets the same name."""
    part = os.urandom(50)
    known = PartRef(50, ("known",))
    assert refs_of({"a": part}, CODEC, {"a": (part, known)}) == {"a": known}
    other = bytes(bytearray(part))
    assert refs_of({"a": other}, CODEC, {"a": (part, known)}) == refs_of({"a": part}, CODEC, {})


def test_a_part_that_could_not_be_read_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything of it is sent."""
    monkeypatch.setattr(pieces, "MAX_PLAIN_BYTES", 8)
    with pytest.raises(ConfigurationError, match="part 'a' has 9 bytes"):
        refs_of({"a": bytes(9)}, CODEC, {})
