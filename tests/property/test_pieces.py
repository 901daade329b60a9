"""Files of any size go over in pieces, whatever they are."""

from hypothesis import given
from hypothesis import strategies as st

from raypool.browser.files import Entry, batches

SIZES = st.lists(st.integers(min_value=0, max_value=40), max_size=8)


@given(SIZES, st.integers(min_value=1, max_value=15))
def test_pieces_are_whole_in_order_and_bounded(sizes: list[int], most: int) -> None:
    """Every byte of every file once, empty files too, and never more than so many bytes at once."""
    entries = [Entry(str(number), size, 0) for number, size in enumerate(sizes)]
    found = list(batches(entries, most))
    assert all(sum(piece.end - piece.start for piece in batch) <= most for batch in found)
    assert all(found)
    pieces = [piece for batch in found for piece in batch]
    for entry in entries:
        own = [piece for piece in pieces if piece.entry is entry]
        assert [at for piece in own for at in range(piece.start, piece.end)] == list(
            range(entry.size)
        )
        assert own
