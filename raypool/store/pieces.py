"""Parts as the server gets them: cut, so that no single value makes it wait, and named by content."""

from collections.abc import Iterator, Mapping

from raypool.errors import CheckpointCorrupt
from raypool.store.codec import MAX_PLAIN_BYTES, Codec, too_large
from raypool.store.listing import Listing
from raypool.store.manifests import PartRef, Refs

PIECE_BYTES = 2**19
"""Writing a value of 16 MB stops a server for 50 to 100 ms, one of 1 MB for 1 to 6 ms (measured)."""
LIST_NAME = "manifest:list"

Sealed = tuple[str, bytes]
Remembered = Mapping[str, tuple[bytes, PartRef]]


def refs_of(parts: Mapping[str, bytes], codec: Codec, remembered: Remembered) -> Refs:
    """Return what names each part.

    Args:
        parts: The whole state.
        codec: Of its session.
        remembered: Parts that were named before: the very same object is not hashed again.

    Raises:
        ConfigurationError: A part is larger than what could be read back.
    """
    refs: Refs = {}
    for name, content in parts.items():
        before = remembered.get(name)
        same = before is not None and before[0] is content
        refs[name] = before[1] if before and same else _ref(name, content, codec)
    return refs


def sealed_pieces(
    parts: Mapping[str, bytes], listing: Listing, there: set[str], codec: Codec
) -> Iterator[Sealed]:
    """Give what the server does not have yet, by digest, one piece at a time, lists last.

    Args:
        parts: The whole state.
        listing: What names it.
        there: Digests of what the server has.
        codec: Of the session.
    """
    for name, ref in listing.parts.items():
        for number, digest in enumerate(ref.pieces):
            if digest not in there:
                yield digest, codec.seal(piece_name(name, number), _piece(parts[name], number))
    for one in listing.lists.values():
        if one.digest not in there:
            yield one.digest, codec.seal(LIST_NAME, one.text)


def open_piece(codec: Codec, name: str, digest: str, data: bytes | None) -> bytes:
    """Return the content of a piece or a list.

    Raises:
        CheckpointCorrupt: It cannot be read back.
    """
    if data is None:
        raise CheckpointCorrupt("it is missing")
    plain = codec.open(name, data)
    if codec.digest(name, plain) != digest:
        raise CheckpointCorrupt("it is not the content that the manifest names")
    return plain


def piece_name(part: str, number: int) -> str:
    """Return what a piece is sealed as: it opens nowhere else, nor at another place of its part."""
    return f"{part}\x00{number}" if number else part


def _ref(name: str, content: bytes, codec: Codec) -> PartRef:
    if len(content) > MAX_PLAIN_BYTES:
        raise too_large(name, len(content))
    count = max(1, -(-len(content) // PIECE_BYTES))
    pieces = (codec.digest(piece_name(name, n), _piece(content, n)) for n in range(count))
    return PartRef(len(content), tuple(pieces))


def _piece(content: bytes, number: int) -> bytes:
    return content[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
