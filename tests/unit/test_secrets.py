"""A canary is put wherever people put secrets, and looked for wherever people look."""

import json
import logging
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from raypool import context, logs
from raypool.errors import ErrorCodes, create_error
from raypool.model import Checkpoint, CheckpointInfo
from raypool.redaction import HIDDEN, is_secret_name, redact, redact_text

CANARY = "cAnary7x-Key"

TEXTS = {
    "password in a URL": f"cannot reach redis://default:{CANARY}@redis.example:6379/0",
    "password without a user": f"rediss://:{CANARY}@h:1",
    "password with an @": f"redis://u:{CANARY}@{CANARY}@h:6379",
    "password with a slash": f"redis://:{CANARY}/{CANARY}=@h:6379",
    "two URLs": f"redis://a:{CANARY}@h1:1,redis://b:{CANARY}@h2:2",
    "proxy": f"socks5://me:{CANARY}@proxy.example:1080 refused",
    "bearer token": f"Authorization: Bearer {CANARY}.{CANARY}",
    "basic authorization": f"authorization: basic {CANARY}{CANARY}==",
    "cookie header": f"Cookie: a=b; sid={CANARY}",
    "set-cookie header": f"set-cookie: sid={CANARY}; Path=/; HttpOnly",
    "query string": f"https://e.example/cb?access_token={CANARY}&next=/",
    "shell": f"REDIS_PASSWORD={CANARY} make demo",
    "keyword argument": f"sign_in(email='a@b.example', password='{CANARY}')",
    "quoted with spaces": f'password="{CANARY} and {CANARY}"',
    "bytes": f"Credentials(user='u', password=b'{CANARY}')",
    "compound name": f"client_secret: {CANARY}",
    "JSON": json.dumps({"user": "u", "api_key": CANARY, "x": 1}),
    "JSON in JSON": json.dumps(json.dumps({"password": f"{CANARY} {CANARY}"})),
    "repr of a dict": repr({"passphrase": CANARY}),
    "one-time password": f"otp={CANARY} totp: {CANARY} totp_secret={CANARY}",
    "call log": "Locator.fill: Timeout 30000ms exceeded.\nCall log:\n"
    f'  - waiting for get_by_label("Password")\n  -   fill("{CANARY}")\n  - attempting fill action',
    "call log, quotes in the text": f'  - fill("a"b{CANARY}")\n  - next',
    "call log, bracket in the text": f'  - fill("a") {CANARY}")\n  - next',
    "call log, several lines": f'  - fill("one\n{CANARY}\nthree")\n  - next',
    "call log, cut off": f'  - fill("{CANARY}',
    "typed": f'  - elementHandle.type("{CANARY}")',
    "source line": f'    await page.get_by_label("Password").fill("{CANARY}")\n  File "x.py"',
    "source line with a selector": f'page.fill("#pw", "{CANARY}", timeout=5)',
    "source line, typed": f"await field.press_sequentially('{CANARY}', delay=20)",
    "source line by keyword": f'await field.fill(value="{CANARY}")',
    "repr of an exception": repr(RuntimeError(f'x\n  - fill("{CANARY}")\n  - "y" isn\'t')),
}  # fmt: skip

READABLE = [
    "redis://redis.example:6379/0",
    "Write it as redis://user:password@host:6379/0.",
    "https://example.com:8080/@user/posts?mail=a@b.example",
    "the business is leased with token=7, fencing_token=8",
    "code=STORAGE_FULL status_code: 507 exit code: 1",
    "the site wants basic authentication or a bearer token",
    "cookies_json: each cookie must be an object with name, value and domain or url",
    "cookie 'sid' needs a domain or a url",
    "type(x) is int; memory_footprint=5",
    'waiting for get_by_label("Password")',
    "press Enter to fill (the form)",
    "Outcome(business_id='b-1', ok=True)",
]

SECRET_NAMES = [
    "password", "user_password", "passwd", "passphrase", "api_key", "apiKey", "RAYPOOL_API_TOKENS",
    "access_token", "refresh_token", "client_secret", "cookie", "cookie_value", "set_cookie",
    "cookies_json", "storage_json", "storage_state", "authorization", "credentials", "otp", "OTP",
    "totp", "totp_secret", "totpSecret", "otp_code", "login_otp", "encryption_keys", "data_key",
    "private_key", "verification_code", "recovery_code", "smsCode",
]  # fmt: skip
PUBLIC_NAMES = [
    "code", "status_code", "exit_code", "error_code", "business_id", "fencing_token", "token",
    "footprint", "hotpath", "session_id", "checkpoint_version", "recovery", "retry_after", "pid",
    "cookie_count", "email", "event", "key",
]  # fmt: skip


@dataclass
class _Credentials:
    email: str
    password: str


class _Form(BaseModel):
    password: str
    pin: SecretStr


def _held() -> dict[str, object]:
    """The canary in every shape that a field may have."""
    return {
        "password": CANARY,
        "nested": {"deep": [{"api_key": CANARY}, ({"totp_secret": CANARY},)]},
        "cookie_value": CANARY,
        "cookies": [{"name": "sid", "value": CANARY}],
        "found": [{"name": "sid", "value": CANARY, "domain": "example.com"}],
        "token": CANARY,
        "payload": CANARY.encode(),
        "credentials": _Credentials("a@b.example", CANARY),
        "login": _Credentials("a@b.example", CANARY),
        "form": _Form(password=CANARY, pin=SecretStr(CANARY)),
        "cause": RuntimeError(f"redis://u:{CANARY}@h"),
        "url": f"https://u:{CANARY}@h/",
        "headers": {"Authorization": f"Bearer {CANARY}", "X-Note": f"Bearer {CANARY}"},
        f"https://u:{CANARY}@h/": 1,
        "holder": ("a", {"secret": CANARY}),
    }


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_credential_in_text_is_cut_out(text: str) -> None:
    """Whatever looks like a credential goes, and going over the text again changes nothing."""
    shown = redact_text(text)
    assert CANARY not in shown
    assert HIDDEN in shown
    assert redact_text(shown) == shown


@pytest.mark.parametrize("text", READABLE)
def test_plain_text_stays_readable(text: str) -> None:
    """Addresses, ids, error codes and prose are left alone."""
    assert redact_text(text) == text


def test_what_stands_around_a_typed_secret_stays() -> None:
    """A call log without the text that was typed is still a call log."""
    shown = redact_text(TEXTS["call log"])
    assert shown.startswith("Locator.fill: Timeout 30000ms exceeded.")
    assert shown.endswith(f"  -   fill({HIDDEN})\n  - attempting fill action")


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_sounds_like_a_secret_hides_its_value(name: str) -> None:
    """Also when the value itself looks harmless, and wherever it is nested."""
    assert is_secret_name(name)
    assert redact({"a": [{name: CANARY}]}) == {"a": [{name: HIDDEN}]}


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_other_names_hide_nothing(name: str) -> None:
    """What people need to find a fault stays: codes, ids, versions, fencing tokens."""
    assert redact({name: 7}) == {name: 7}
    assert redact({name: "7"}) == {name: "7"}


def test_a_token_is_shown_only_as_a_number() -> None:
    """Fencing tokens are numbers; a token of another kind is somebody's credential."""
    assert redact({"token": 5, "fencing_token": 6}) == {"token": 5, "fencing_token": 6}
    assert redact({"token": CANARY}) == {"token": HIDDEN}


def test_nothing_to_hide_is_shown_as_nothing() -> None:
    """Whether a secret was given at all is worth knowing."""
    assert redact({"password": None, "api_key": ""}) == {"password": None, "api_key": ""}


def test_redacting_changes_a_copy() -> None:
    """The caller's data stays as it was."""
    held = {"password": CANARY, "list": [{"secret": CANARY}]}
    redact(held)
    assert held == {"password": CANARY, "list": [{"secret": CANARY}]}


def test_a_megabyte_is_redacted_in_no_time() -> None:
    """Long text costs time in proportion to its length, whatever it is made of."""
    begin = time.process_time()
    for piece in ("a", 'fill("', "password", "://a:", '"', "cookie=", "bearer "):
        redact_text(piece * (200_000 // len(piece)))
    assert time.process_time() - begin < 4


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_an_error_never_shows_a_secret_of_its_message(text: str) -> None:
    """Not in str, repr, to_dict or its pickle, which is what other processes get."""
    error = create_error(ErrorCodes.INTERNAL_ERROR, text, recovery=text)
    shown = f"{error} {error!r} {error.to_dict()} {error.recovery} {error.args}"
    assert CANARY not in shown
    assert CANARY.encode() not in pickle.dumps(error)


def test_an_error_never_shows_a_secret_of_its_context() -> None:
    """Whatever shape it has and whether it was given or bound: it is gone before anybody looks."""
    with context.bound(login_token=CANARY):
        error = create_error(ErrorCodes.INTERNAL_ERROR, "x", _held())
    assert CANARY not in f"{error} {error!r} {error.to_dict()} {vars(error)}"
    assert CANARY.encode() not in pickle.dumps(error)
    assert error.context["holder"] == ["a", {"secret": HIDDEN}]


@pytest.fixture
def _restored_logs() -> Iterator[None]:
    yield
    logs.configure()


Capture = pytest.CaptureFixture[str]
FORMATS = pytest.mark.parametrize("log_format", ["json", "console", "auto"])


@FORMATS
@pytest.mark.usefixtures("_restored_logs")
def test_a_log_line_never_shows_a_secret(log_format: logs.Format, capsys: Capture) -> None:
    """No renderer, field, bound id, message or traceback carries one."""
    logs.configure(log_format, "DEBUG")
    log = logs.get_logger("test").bind(api_key=CANARY)
    with context.bound(session_token=CANARY, business_id="b-1"):
        log.info("with fields", **_held())
        for text in TEXTS.values():
            log.debug(text, said=text)
            log.error("it failed", exc_info=RuntimeError(text))
    shown = capsys.readouterr()
    assert CANARY not in shown.err + shown.out
    assert shown.err.count("it failed") == len(TEXTS)
    assert shown.err.count("RuntimeError") >= len(TEXTS)
    assert "b-1" in shown.err


@pytest.mark.usefixtures("_restored_logs")
def test_logs_are_clean_before_anybody_configured_them(capsys: Capture) -> None:
    """A script that never sets logs up: no secret, no standard output, no debug lines."""
    log = logs.get_logger("test")
    log.debug("too low")
    log.warning("hello", password=CANARY)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert json.loads(shown.err)["event"] == "hello"
    assert CANARY not in shown.err


@pytest.mark.usefixtures("_restored_logs")
def test_error_codes_stay_readable_in_logs(capsys: Capture) -> None:
    """An error logged with its fields can be looked up by its code."""
    logs.configure("json")
    error = create_error(ErrorCodes.STORAGE_FULL, "no room", {"fencing_token": 4})
    logs.get_logger("test").error("failed", **error.to_dict())
    line = json.loads(capsys.readouterr().err)
    assert (line["code"], line["context"]) == ("STORAGE_FULL", {"fencing_token": 4})


@pytest.mark.usefixtures("_restored_logs")
def test_logs_leave_the_callers_structlog_alone(capsys: Capture) -> None:
    """A program that uses structlog itself keeps its own set-up, and raypool keeps its own."""
    assert not structlog.is_configured()
    logs.configure("json", "ERROR")
    log = logs.get_logger("test")
    log.warning("too low")
    log.error("high enough")
    assert not structlog.is_configured()
    assert json.loads(capsys.readouterr().err)["event"] == "high enough"


@pytest.mark.usefixtures("_restored_logs")
def test_a_logger_made_early_follows_a_later_configure(capsys: Capture) -> None:
    """Modules make their logger at import; the process decides about format and level later."""
    early = logs.get_logger("early")
    logs.configure("json", logging.getLevelName(logging.DEBUG))
    early.debug("now it counts")
    assert json.loads(capsys.readouterr().err)["module"] == "early"


def test_a_checkpoint_shows_names_and_sizes_only() -> None:
    """The repr of a checkpoint can go anywhere."""
    info = CheckpointInfo(
        version=3, created_at=datetime(2026, 1, 1, tzinfo=UTC), size=12, signed_in=None
    )
    shown = repr(Checkpoint(info, {"cookies": CANARY.encode()}))
    assert shown == f"Checkpoint(version=3, parts={{'cookies': {len(CANARY)}}})"


def test_trace_ids_are_fresh() -> None:
    """Each call gets its own."""
    assert len({logs.new_trace_id() for _ in range(100)}) == 100
