"""What holds for every exported state and for every damage to its file."""

import hashlib
from datetime import UTC, datetime
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypool.errors import CheckpointCorrupt, ConfigurationError, RaypoolError
from raypool.exports import Cost, Export, ExportHead, is_export, open_export, seal_export
from raypool.model import SignIn
from raypool.spec import SessionSpec

QUICK = Cost(log_n=4)
NOW = datetime(2030, 1, 1, tzinfo=UTC)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
states = st.dictionaries(names, st.binary(max_size=200), max_size=6)
passphrases = st.text(min_size=1, max_size=40)
heads = st.builds(
    ExportHead,
    business_id=names,
    email=st.none() | names,
    spec=st.builds(SessionSpec, context=st.dictionaries(names, st.none() | names, max_size=3)),
    version=st.integers(0, 2**53),
    created_at=st.just(NOW),
    exported_at=st.just(NOW),
    sign_in=st.sampled_from(SignIn),
    warnings=st.lists(names, max_size=3).map(tuple),
)
exports = st.builds(Export, heads, states)
SAMPLE = seal_export(
    Export(
        ExportHead(business_id="b", version=1, created_at=NOW, exported_at=NOW), {"a": b"1" * 99}
    ),
    "right",
    QUICK,
)


@given(exports, passphrases)
def test_an_export_comes_back_as_it_was(export: Export, passphrase: str) -> None:
    """Byte for byte, with all that it tells."""
    data = seal_export(export, passphrase, QUICK)
    assert is_export(data)
    assert open_export(data, passphrase) == export


@given(exports, passphrases, passphrases)
def test_another_passphrase_opens_nothing(export: Export, one: str, other: str) -> None:
    """And is told apart from damage. Spellings that look the same are the same."""
    data = seal_export(export, one, QUICK)
    if normalize("NFKC", one) == normalize("NFKC", other):
        assert open_export(data, other) == export
    else:
        with pytest.raises(ConfigurationError, match="passphrase"):
            open_export(data, other)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, by: int) -> None:
    """Wherever it is, and never taken for a wrong passphrase."""
    data = bytearray(SAMPLE)
    data[at] ^= by
    if not is_export(bytes(data)):
        with pytest.raises(ConfigurationError, match="no export"):
            open_export(bytes(data), "right")
        return
    with pytest.raises(CheckpointCorrupt, match="damaged"):
        open_export(bytes(data), "right")


@given(st.integers(8, len(SAMPLE) - 1), st.binary(max_size=9))
def test_a_cut_or_longer_file_is_noticed(length: int, more: bytes) -> None:
    """As a full disk or a careless copy leaves it."""
    for data in (SAMPLE[:length] + more, SAMPLE + more + b"\n"):
        if data != SAMPLE:
            with pytest.raises(CheckpointCorrupt, match="damaged"):
                open_export(data, "right")


@given(st.binary(max_size=200))
def test_rubbish_behind_the_first_bytes_is_an_error_of_ours(rest: bytes) -> None:
    """Also with a digest that fits: nothing in the head makes a reader work without bound."""
    body = SAMPLE[:9] + rest
    for data in (body, body + hashlib.sha256(body).digest()):
        with pytest.raises(RaypoolError):
            open_export(data, "right")


@given(exports, passphrases)
def test_nothing_of_it_can_be_read_or_is_shown(export: Export, passphrase: str) -> None:
    """Neither in the file nor in a repr."""
    secret = b"SECRET-COOKIE-VALUE"
    full = Export(export.about, {**export.parts, "cookies": secret})
    assert secret not in seal_export(full, passphrase, QUICK)
    assert secret.decode() not in repr(full)
