"""The file of an exported session: what is refused and how, and how it lies on the disk."""

import hashlib
import hmac
import json
import os
import stat
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from raypool import exportfile, exports, state
from raypool.errors import CheckpointCorrupt, ConfigurationError, ErrorCodes
from raypool.exports import Cost, Export, ExportHead, open_export, seal_export
from raypool.state import Area, Kind
from raypool.state.storage_state import (
    from_storage_state,
    is_storage_state,
    left_out,
    to_storage_state,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ABOUT = ExportHead(business_id="b", version=3, created_at=NOW, exported_at=NOW)
QUICK = Cost(log_n=4)
COOKIE = {
    "name": "sid", "value": "s3cret", "domain": ".a.example", "path": "/", "expires": 1900000000.5,
    "size": 9, "httpOnly": True, "secure": True, "session": False, "sameSite": "Strict",
    "priority": "High", "sourceScheme": "Secure", "sourcePort": 443,
}  # fmt: skip
PARTS = {
    "cookies": state.encode([COOKIE]),
    "local:https://a.example/#0/1": state.encode({"k": "v"}),
    "tabs": state.encode({"active": 0, "tabs": []}),
}


def test_the_format_is_what_its_description_says() -> None:
    """Another program can read it with nothing but the table in the module's head."""
    data = seal_export(Export(ABOUT, PARTS), "pass", QUICK)
    body, digest = data[:-32], data[-32:]
    assert hashlib.sha256(body).digest() == digest
    magic, version, log_n, r, p, salt, nonce = struct.unpack_from("!8sBBBB16s12s", body)
    assert (magic, version) == (b"RAYPOOLX", 1)
    key = Scrypt(salt=salt, length=64, n=2**log_n, r=r, p=p).derive(b"pass")
    head = body[:72]
    assert head[40:] == hmac.digest(key[32:], head[:40], "sha256")
    frame = AESGCM(key[:32]).decrypt(nonce, body[72:], head)
    plain = zstandard.ZstdDecompressor().decompress(frame)
    (length,) = struct.unpack_from("!I", plain)
    contents = json.loads(plain[4 : 4 + length])
    assert contents["about"]["business_id"] == "b"
    at = 4 + length
    for part in contents["parts"]:
        assert plain[at : at + part["size"]] == PARTS[part["name"]]
        at += part["size"]
    assert at == len(plain)


def test_a_guess_at_the_passphrase_is_expensive() -> None:
    """What raypool writes by itself costs 128 MB a guess."""
    data = seal_export(Export(ABOUT, {}), "pass")
    log_n, r, p = data[9:12]
    assert 128 * r * 2**log_n >= 2**27
    assert (r, p) == (8, 1)
    assert open_export(data, "pass") == Export(ABOUT, {})


@pytest.mark.parametrize(
    "numbers", [(0, 8, 1), (25, 8, 1), (18, 32, 1), (17, 0, 1), (17, 8, 0), (4, 8, 255)]
)
def test_a_file_cannot_make_its_reader_work_without_bound(numbers: tuple[int, ...]) -> None:
    """Parameters that raypool would not write are damage, found before they are used."""
    body = bytearray(seal_export(Export(ABOUT, {}), "pass", QUICK)[:-32])
    body[9:12] = bytes(numbers)
    with pytest.raises(CheckpointCorrupt, match="nothing that raypool writes"):
        open_export(bytes(body) + hashlib.sha256(body).digest(), "pass")


def test_a_newer_format_says_so() -> None:
    """Instead of being taken for damage."""
    body = bytearray(seal_export(Export(ABOUT, {}), "pass", QUICK)[:-32])
    body[8] = 2
    with pytest.raises(ConfigurationError, match="has format 2, this raypool reads 1"):
        open_export(bytes(body) + hashlib.sha256(body).digest(), "pass")


def test_a_wrong_passphrase_is_no_damage_and_a_forgery_is() -> None:
    """Each in one sentence of its own."""
    data = seal_export(Export(ABOUT, PARTS), "pass", QUICK)
    with pytest.raises(ConfigurationError) as caught:
        open_export(data, "Pass")
    assert "passphrase is not the one" in caught.value.message
    forged = bytearray(data[:-32])
    forged[-1] ^= 1
    with pytest.raises(CheckpointCorrupt, match="changed after it was exported"):
        open_export(bytes(forged) + hashlib.sha256(forged).digest(), "pass")


@pytest.mark.parametrize("passphrase", ["", "x" * 1025, "ä" * 600])
def test_a_passphrase_is_bounded(passphrase: str) -> None:
    """An empty one protects nothing."""
    with pytest.raises(ConfigurationError, match="1 to 1024 bytes"):
        seal_export(Export(ABOUT, {}), passphrase, QUICK)


def test_a_state_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written."""
    monkeypatch.setattr(exports, "MAX_BYTES", 1000)
    monkeypatch.setattr(exportfile, "MAX_BYTES", 1000)
    large = Export(ABOUT, {"cookies": state.encode(["x" * 1001])})
    with pytest.raises(ConfigurationError, match="at most 1000 fit"):
        exportfile.render(large, "pass")
    with pytest.raises(ConfigurationError, match="at most 1000 fit"):
        exportfile.render(Export(ABOUT, {"cookies": state.encode([COOKIE] * 10)}), None)


def test_a_site_may_call_its_databases_whatever_it_likes() -> None:
    """A part's name is as long as that; the session can be exported all the same."""
    name = Area(Kind.DATABASE, "https://a.example/", "\u6f22\ud800" * 5000).name
    export = Export(ABOUT, {name: b"{}"})
    assert open_export(seal_export(export, "pass", QUICK), "pass") == export


def test_a_small_file_cannot_become_a_large_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros pack well: the bound counts what comes out."""
    data = seal_export(Export(ABOUT, {"a": bytes(5000)}), "pass", QUICK)
    assert len(data) < 1000
    monkeypatch.setattr(exports, "MAX_BYTES", 2000)
    with pytest.raises(CheckpointCorrupt, match="larger than"):
        open_export(data, "pass")


# -- the file ----------------------------------------------------------------------------------


def test_a_file_is_for_its_user_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask says, with nothing beside it."""
    before = os.umask(0)
    try:
        exportfile.write(tmp_path / "f", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert (tmp_path / "f").read_bytes() == b"1"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """Unless it is asked to be replaced; then whole, and private from then on."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="f exists already") as caught:
        exportfile.write(path, b"new")
    assert "--force" in caught.value.recovery
    assert path.read_bytes() == b"old"
    exportfile.write(path, b"new", force=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_that_leads_nowhere_is_there_too(tmp_path: Path) -> None:
    """It must not be written through."""
    (tmp_path / "f").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="exists already"):
        exportfile.write(tmp_path / "f", b"new")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """No half file and no remains; the sentence says why."""
    path = tmp_path / "f"
    if force:
        path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left on device"):
        exportfile.write(path, b"new", force=force)
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert left == ({"f": b"old"} if force else {})


@pytest.mark.parametrize("name", ["nowhere/f", "."])
def test_a_place_that_cannot_be_written_is_wrong_use(tmp_path: Path, name: str) -> None:
    """A directory that is not there, or is in the way."""
    with pytest.raises(ConfigurationError):
        exportfile.write(tmp_path / name, b"new")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        exportfile.read(tmp_path / name)


def test_what_raypool_never_wrote_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a device without end."""
    monkeypatch.setattr(exportfile, "MAX_BYTES", 10)
    with pytest.raises(ConfigurationError, match="larger than 10 bytes"):
        exportfile.read(Path("/dev/zero"))


# -- which kind it is --------------------------------------------------------------------------


def test_a_file_is_known_by_its_content() -> None:
    """Not by its name: both kinds are read by the same call."""
    export = Export(ABOUT, PARTS)
    sealed = seal_export(export, "pass", QUICK)
    assert exportfile.parse(sealed, "pass", None) == export
    plain = exportfile.parse(exportfile.render(export, None), None, "c")
    assert (plain.about.business_id, plain.about.version) == ("c", 0)
    assert set(plain.parts) == {"cookies", "local:https://a.example/#0/1"}
    bom = b"\xef\xbb\xbf" + exportfile.render(export, None)
    assert exportfile.parse(bom, None, "c").parts == plain.parts


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "neither an export of raypool nor a storage_state"),
    "text": (b"hello", "neither"),
    "another JSON": (b'{"a": 1}', "neither"),
    "a list": (b"[]", "neither"),
    "half": (b'{"cookies": [], "origins": [', "neither"),
    "no text": (b"\xff\xfe\x00", "neither"),
    "nested": (b"[" * 100_000, "neither"),
    "bad cookie": (b'{"cookies": [{"name": 1}], "origins": []}', "cookie"),
    "bad origin": (b'{"cookies": [], "origins": [{"origin": "javascript:1"}]}', "origin"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_cannot_be_is_refused(what: str) -> None:
    """In one sentence, as wrong use."""
    data, says = REFUSED[what]
    with pytest.raises(ConfigurationError, match=says) as caught:
        exportfile.parse(data, None, "b")
    assert caught.value.code is ErrorCodes.CONFIG_INVALID_ARGUMENT


def test_deep_nesting_is_refused_or_read() -> None:
    """Whatever depth this Python can follow: never an error that names no file."""
    refused = 0
    for depth in range(500, 3000, 20):
        inside = b"[" * depth + b"]" * depth
        origin = b'{"origin": "https://a.example", "indexedDB": ' + inside + b"}"
        try:
            exportfile.parse(b'{"cookies": [], "origins": [' + origin + b"]}", None, "b")
        except ConfigurationError:
            refused += 1
    assert refused


def test_each_kind_asks_for_what_it_needs() -> None:
    """A passphrase, or whose it is."""
    with pytest.raises(ConfigurationError, match="needs its passphrase"):
        exportfile.parse(seal_export(Export(ABOUT, {}), "pass", QUICK), None, None)
    with pytest.raises(ConfigurationError, match="name the business"):
        exportfile.parse(b'{"cookies": [], "origins": []}', None, None)


# -- Playwright's ------------------------------------------------------------------------------


def test_a_cookie_is_shown_as_playwright_shows_it() -> None:
    """Its names and nothing beside them; what CDP leaves out has Playwright's default."""
    bare = {"name": "n", "value": "v", "domain": "a.example", "path": "/x", "expires": -1,
            "httpOnly": False, "secure": False, "session": True}  # fmt: skip
    ours = {"name": "u", "value": "v", "url": "https://c.example/path", "expires": -1}
    chips = {**bare, "partitionKey": {"topLevelSite": "https://t.example",
                                      "hasCrossSiteAncestor": True}}  # fmt: skip
    shown = to_storage_state({"cookies": state.encode([COOKIE, bare, ours, chips])})["cookies"]
    kept = ("name", "value", "domain", "path", "expires", "httpOnly", "secure", "sameSite")
    assert shown[0] == {name: COOKIE[name] for name in kept}
    assert shown[1] == {**{k: bare[k] for k in kept if k in bare}, "sameSite": "Lax"}
    assert shown[2] == {
        "name": "u", "value": "v", "domain": "c.example", "path": "/", "expires": -1,
        "httpOnly": False, "secure": True, "sameSite": "Lax",
    }  # fmt: skip
    assert shown[3]["partitionKey"] == "https://t.example"
    assert shown[3]["_crHasCrossSiteAncestor"] is True


def test_a_storage_state_comes_back() -> None:
    """Cookies and storage as they went out; what it has no place for is named."""
    there = to_storage_state(PARTS)
    again = from_storage_state(json.dumps(there))
    assert to_storage_state(again) == there
    assert left_out(PARTS) == ("tabs",)


def test_passkeys_and_partitions_come_back() -> None:
    """Playwright has a place for them: nothing is left out."""
    passkey = {"id": "aWQ", "rpId": "a.example", "userHandle": "dQ", "privateKey": "cA",
               "publicKey": "cQ", "signCount": 3}  # fmt: skip
    partition = {"topLevelSite": "https://t.example", "hasCrossSiteAncestor": True}
    cookie = {"name": "n", "value": "v", "domain": "a.example", "path": "/", "expires": -1,
              "httpOnly": False, "secure": True, "sameSite": "None",
              "partitionKey": partition}  # fmt: skip
    parts = {"cookies": state.encode([cookie]), "credentials": state.encode([passkey])}
    assert from_storage_state(json.dumps(to_storage_state(parts))) == parts
    assert left_out(parts) == ()


def test_a_state_without_cookies_is_one(tmp_path: Path) -> None:
    """An empty state is no reason to fail: signing out everywhere is a state too."""
    assert to_storage_state({}) == {"cookies": [], "origins": []}
    assert from_storage_state('{"cookies": [], "origins": []}') == {"cookies": b"[]"}


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, {"cookies": []}, {"origins": []}, {"cookies": {}, "origins": []}]
)
def test_other_json_is_no_storage_state(value: Any) -> None:
    """Both lists must be there."""
    assert not is_storage_state(json.dumps(value))
