"""When two states hold the same sign-in: by value, wherever a site may keep it."""

from typing import Any

import pytest

from raypool.state import COOKIES, PERMISSIONS, TABS, encode, same_sign_in, session_cookies

COOKIE = {"domain": "e.com", "path": "/", "name": "sid", "value": "1", "expires": 10.0}
TAB = {"url": "https://e.com/", "scroll": [0, 0], "sessionStorage": {"https://e.com": {"t": "1"}}}


def _state(cookie: dict[str, Any] = COOKIE, tab: dict[str, Any] = TAB, **more: bytes) -> Any:
    return {
        COOKIES: encode([cookie]),
        TABS: encode({"active": 0, "tabs": [tab]}),
        "local:https://e.com/#0/1": b'{"token":"1"}',
        **more,
    }


@pytest.mark.parametrize(
    "other",
    [
        _state(),
        _state({**COOKIE, "expires": 20.0}),
        _state(tab={**TAB, "url": "https://e.com/else", "scroll": [0, 9]}),
        _state(**{PERMISSIONS: b"{}"}),
    ],
)
def test_going_about_changes_no_sign_in(other: dict[str, bytes]) -> None:
    """Another page, a cookie that lives longer, a permission."""
    assert same_sign_in(_state(), other)


@pytest.mark.parametrize(
    "other",
    [
        _state({**COOKIE, "value": "2"}),
        _state({**COOKIE, "name": "else"}),
        _state({**COOKIE, "domain": "f.com"}),
        _state(tab={**TAB, "sessionStorage": {}}),
        _state(**{"local:https://e.com/#0/1": b"{}"}),
        _state(**{"records:https://e.com/#db/tokens#0/1": b"{}"}),
        {name: data for name, data in _state().items() if not name.startswith("local:")},
        {name: data for name, data in _state().items() if name != COOKIES},
        {},
    ],
)
def test_whatever_may_hold_a_token_counts(other: dict[str, bytes]) -> None:
    """By value, added or taken away."""
    assert not same_sign_in(_state(), other)
    assert not same_sign_in(other, _state())


HIDDEN = {**COOKIE, "httpOnly": True}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (COOKIE, {**COOKIE, "value": "2"}, False),
        (COOKIE, {**COOKIE, "expires": 20.0}, False),
        (COOKIE, {**COOKIE, "name": "else"}, True),
        (HIDDEN, {**HIDDEN, "expires": 20.0}, False),
        (HIDDEN, {**HIDDEN, "value": "2"}, True),
    ],
)
def test_what_looks_like_a_sign_in_or_out(
    before: dict[str, Any], after: dict[str, Any], changed: bool
) -> None:
    """A cookie that comes or goes, and another value of one that scripts cannot read."""
    assert (session_cookies(_state(before)) != session_cookies(_state(after))) is changed
