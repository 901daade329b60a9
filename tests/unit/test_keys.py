"""The keys in Redis: what is documented is what is built, and each knows its partition."""

import re
import zlib
from pathlib import Path

import pytest

from raypool.store import keys as module
from raypool.store.keys import Keys

DOCS = Path(__file__).parents[2] / "docs" / "redis-schema.md"
KEYS = Keys("fleet:")
INDEXES = ("expiry", "business:<b>", "email:<hmac>", "status:<s>", "desired:<d>", "breakers")


def documented(text: str) -> set[str]:
    """Return the names in the first column of a table."""
    return set(re.findall(r"^(?:\| *)?``?((?:\{p\}:|meta)[^`]*)``?", text, re.MULTILINE))


def built() -> set[str]:
    """Return what the methods build, in the words of the table."""
    names = [KEYS.meta, KEYS.events(0), KEYS.audit(0), KEYS.lease("<business>"),
             KEYS.token("<business>"), KEYS.session("<sid>"), KEYS.parts("<sid>"),
             KEYS.checkpoints("<sid>"), KEYS.breaker("<site>"),
             *(KEYS.index(0, name) for name in INDEXES)]  # fmt: skip
    return {name.removeprefix("fleet:").replace("{0}", "{p}") for name in names}


def test_the_table_of_keys_is_what_the_methods_build() -> None:
    """Nobody has to read code to know what is in the server."""
    assert documented(module.__doc__ or "") == built()


def test_the_contract_for_other_services_names_every_key() -> None:
    """docs/redis-schema.md does not lag behind."""
    assert documented(DOCS.read_text()) == built()


def test_every_public_method_that_builds_a_key_is_in_the_table() -> None:
    """A new kind of key has to be added to the tests above, and so to the documents."""
    others = {"partitions", "prefix", "partition_of", "new_session_id", "all_partitions",
              "partition_of_session"}  # fmt: skip
    public = {name for name in dir(Keys("x:")) if not name.startswith("_")}
    assert public - others == {
        "meta", "events", "audit", "lease", "token", "session", "parts", "checkpoints", "index",
        "breaker",
    }  # fmt: skip


def test_all_of_a_business_is_in_one_partition() -> None:
    """So that one script reaches all that it must change at once, on a cluster too."""
    keys = Keys("fleet:", 16)
    for business in ("business-1", "b", "A.b_c-9" * 10):
        number = zlib.crc32(business.encode()) % 16
        sid = keys.new_session_id(business)
        tag = f"fleet:{{{number}}}:"
        for key in (keys.session(sid), keys.parts(sid), keys.checkpoints(sid), keys.lease(business),
                    keys.token(business), keys.events(keys.partition_of(business)),
                    keys.audit(keys.partition_of(business))):  # fmt: skip
            assert key.startswith(tag)


def test_businesses_spread_over_the_partitions() -> None:
    """No node of a cluster is left idle."""
    keys = Keys("fleet:", 16)
    assert {keys.partition_of(f"business-{n}") for n in range(400)} == set(keys.all_partitions())


def test_a_session_id_never_comes_back() -> None:
    """Also for the same business."""
    assert len({KEYS.new_session_id("b") for _ in range(100)}) == 100


@pytest.mark.parametrize("sid", ["99-x", "-1-x", "²-x", "x", "", "1" * 40])
def test_an_id_that_is_none_of_ours_stays_under_the_prefix(sid: str) -> None:
    """Whatever a caller passes as an id, no key outside the fleet is reached."""
    assert Keys("fleet:", 16).session(sid).startswith("fleet:{0}:session:")
