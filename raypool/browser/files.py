"""The origin private file system of a document's origin: read in pieces, written in pieces.

No CDP command knows these files; scripts do. A file that is too big, or written to meanwhile, costs
itself and is named. One that a worker of the site holds open is read as far as it was flushed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from raypool.browser.databases import Answers

MAX_BYTES = 64 * 2**20
MAX_FILE_BYTES = 32 * 2**20
MAX_LIST = 4 * 2**20
"""Characters of the list of an origin's files."""
PIECE_BYTES = 3 * 2**20
"""In one message, in which they take a third more. Divisible by 3: base64 of pieces can be joined."""


@dataclass(frozen=True)
class Files:
    """Files of an origin."""

    contents: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Base64 by path; an empty folder's path ends with ``/`` and has no content."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Why a path could not be read."""


@dataclass(frozen=True)
class Limits:
    """How much is read, in bytes."""

    total: int = MAX_BYTES
    file: int = MAX_FILE_BYTES


@dataclass(frozen=True)
class Entry:
    """A file, as it was when it was listed."""

    path: str
    size: int
    modified: float


@dataclass(frozen=True)
class Piece:
    """Bytes *start* to *end* of a file."""

    entry: Entry
    start: int
    end: int


_DEFAULT = Limits()


async def files_mark(document: Answers) -> str:
    """Return a hash of names, sizes and times: another one when a file has changed. Cheap."""
    return str(await document.call("markFiles", MAX_LIST))


async def read_files(document: Answers, limits: Limits = _DEFAULT) -> Files:
    """Return the files of a document's origin, as many as *limits* let through: the small ones first.

    Raises:
        Exception: The document is gone, or has no answer for its file system as a whole.
    """
    listed = await document.call("listFiles", MAX_LIST)
    lost = dict(listed["lost"])
    if listed["more"]:
        lost["…"] = "there are more files than can be listed"
    wanted, too_big = chosen([Entry(*entry) for entry in listed["files"]], limits)
    contents, failed = await _contents(document, wanted)
    contents |= dict.fromkeys(listed["folders"], "")
    return Files(contents, lost | too_big | failed)


async def write_files(document: Answers, contents: Mapping[str, str]) -> dict[str, str]:
    """Write files into the file system of a document's origin; what is there already stays as it is.

    Args:
        document: One of their origin.
        contents: As in :class:`Files`.

    Returns:
        Why a path could not be written.

    Raises:
        Exception: The document is gone, or has no file system.
    """
    listed = await document.call("listFiles", MAX_LIST)
    there = {path for path, *_ in (*listed["files"], *listed["lost"])}
    missing = {path: content for path, content in contents.items() if path not in there}
    lost: dict[str, str] = {}
    for batch in _written(missing):
        pieces = [piece for piece in batch if piece[0] not in lost]
        lost |= dict(await document.call("writePieces", pieces))
    return lost


def chosen(entries: Iterable[Entry], limits: Limits) -> tuple[list[Entry], dict[str, str]]:
    """Return the files that are within *limits*, and why others are not. Pure."""
    kept, lost, total = list[Entry](), dict[str, str](), 0
    for entry in sorted(entries, key=lambda entry: (entry.size, entry.path)):
        if entry.size > limits.file:
            lost[entry.path] = f"it has {entry.size} bytes, and {limits.file} is the most"
        elif total + entry.size > limits.total:
            lost[entry.path] = f"with it they are more than {limits.total} bytes"
        else:
            kept.append(entry)
            total += entry.size
    return kept, lost


def batches(entries: Iterable[Entry], size: int = PIECE_BYTES) -> Iterator[list[Piece]]:
    """Yield all pieces of *entries*, in order, as many at a time as are *size* bytes together. Pure."""
    batch, room = list[Piece](), size
    for entry in entries:
        for start in range(0, max(entry.size, 1), size):
            piece = Piece(entry, start, min(start + size, entry.size))
            if piece.end - piece.start > room:
                yield batch
                batch, room = [], size
            batch.append(piece)
            room -= piece.end - piece.start
    if batch:
        yield batch


async def _contents(
    document: Answers, entries: Sequence[Entry]
) -> tuple[dict[str, str], dict[str, str]]:
    read: defaultdict[str, str] = defaultdict(str)
    lost: dict[str, str] = {}
    gone: set[str] = set()
    for batch in batches(entries):
        asked = [(p.entry.path, p.entry.size, p.entry.modified, p.start, p.end) for p in batch]
        answers = await document.call("readPieces", asked)
        for piece, answer in zip(batch, answers, strict=True):
            if answer is None:
                gone.add(piece.entry.path)
            elif isinstance(answer, str):
                read[piece.entry.path] += answer
            else:
                lost[piece.entry.path] = answer["lost"]
    whole = {path: content for path, content in read.items() if path not in gone | lost.keys()}
    return whole, lost


def _written(contents: Mapping[str, str]) -> Iterator[list[tuple[str, int, str]]]:
    """Yield what to write: path, where it begins, and base64."""
    entries = [Entry(path, -(-len(content) // 4) * 3, 0) for path, content in contents.items()]
    for batch in batches(entries):
        yield [(p.entry.path, p.start, _cut(contents[p.entry.path], p.start, p.end)) for p in batch]


def _cut(content: str, start: int, end: int) -> str:
    return content[start // 3 * 4 : -(-end // 3) * 4]
