"""What callers may name and ask for: good values are kept, bad ones refused with what fits."""

import math
from datetime import timedelta
from typing import Any

import pytest

from raypool.errors import ConfigurationError, ErrorCodes
from raypool.ids import MAX_TTL_S, parse_business_id, parse_duration, parse_email
from raypool.spec import CONTEXT_OPTIONS, Probe, SessionSpec, parse_spec


def _refused(caught: pytest.ExceptionInfo[ConfigurationError], *says: str) -> None:
    assert caught.value.code is ErrorCodes.CONFIG_INVALID_ARGUMENT
    for words in says:
        assert words in caught.value.message


@pytest.mark.parametrize("value", ["a", "Business-123", "0.b_c-D", "x" * 128])
def test_business_ids_are_kept_as_they_are(value: str) -> None:
    """No case folding, no trimming: the id is the customer's."""
    assert parse_business_id(value) == value


@pytest.mark.parametrize(
    "value",
    ["", " a", "a ", "a\n", "-a", ".a", "_a", "a/b", "a:b", "a{b}", "ä", "x" * 129, None, 5, b"a"],
)
def test_what_is_no_business_id_is_refused(value: object) -> None:
    """Nothing that could leave its place in a key or an actor's name gets in."""
    with pytest.raises(ConfigurationError) as caught:
        parse_business_id(value)
    _refused(caught, repr(str(value)[:140]), "business id", "1 to 128 characters")
    assert "business-123" in caught.value.recovery


@pytest.mark.parametrize("value", ["a@b.example", "  owner+x@mail.example.com\n", "ä@ö.de"])
def test_addresses_are_trimmed_and_kept(value: str) -> None:
    """The site is the judge of addresses; only slips of the hand are caught."""
    assert parse_email(value) == value.strip()


@pytest.mark.parametrize(
    "value",
    ["", "a", "a@b", "@b.example", "a@@b.de", "a b@c.de", "a@b..c", f"{'x' * 250}@b.de", None, 5],
)
def test_what_is_no_address_is_refused(value: object) -> None:
    """The message shows it and an example."""
    with pytest.raises(ConfigurationError) as caught:
        parse_email(value)
    _refused(caught, "e-mail address", "name@example.com")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(1, 1.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (MAX_TTL_S, float(MAX_TTL_S))],
)
def test_durations_are_seconds_or_timedeltas(value: object, seconds: float) -> None:
    """Both give seconds as a float."""
    result = parse_duration(value, name="ttl")
    assert (result, type(result)) == (seconds, float)


@pytest.mark.parametrize(
    "value",
    [0, -1, math.nan, math.inf, MAX_TTL_S + 1, True, "10", None, timedelta(0), timedelta.max],
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    """The message names the argument, shows the value and says what fits."""
    with pytest.raises(ConfigurationError) as caught:
        parse_duration(value, name="idle_after")
    _refused(caught, f"idle_after={value!r}", "seconds above 0", "timedelta")


def test_a_shorter_bound_is_obeyed() -> None:
    """A caller may allow less than ten years."""
    assert parse_duration(60, name="t", most=60) == 60
    with pytest.raises(ConfigurationError, match="at most 60"):
        parse_duration(61, name="t", most=60)


def test_a_spec_is_sorted_into_its_places() -> None:
    """Browser, context and record each get what is theirs, durations in seconds."""
    probe = Probe(selector="#me")
    changes = parse_spec({
        "browser": "chromium", "headless": False, "idle_after": timedelta(minutes=1), "ttl": 60,
        "probe": probe, "locale": "de-DE", "viewport": {"width": 800, "height": 600},
    })  # fmt: skip
    assert changes.ttl == 60.0
    spec = SessionSpec().merged(changes)
    assert (spec.browser, spec.headless, spec.idle_after, spec.probe) == (
        "chromium", False, 60.0, probe,
    )  # fmt: skip
    assert spec.context == {"locale": "de-DE", "viewport": {"width": 800, "height": 600}}


def test_a_later_spec_changes_only_what_it_names() -> None:
    """Context options are merged by name; what is not named stays."""
    first = SessionSpec().merged(
        parse_spec({"locale": "de-DE", "headless": False, "idle_after": 5})
    )
    second = first.merged(parse_spec({"timezone_id": "Europe/Berlin", "idle_after": None}))
    assert second.context == {"locale": "de-DE", "timezone_id": "Europe/Berlin"}
    assert (second.headless, second.idle_after) == (False, None)
    assert first.merged(parse_spec({})) == first


@pytest.mark.parametrize(
    "change",
    [{"browser": "chromium"}, {"headless": False}, {"locale": "fr"}, {"probe": Probe(text="Hi")}],
)
def test_most_changes_need_a_new_browser(change: dict[str, Any]) -> None:
    """What the browser was launched or its context was made with cannot be changed in place."""
    spec = SessionSpec()
    assert spec.needs_new_browser(spec.merged(parse_spec(change)))


@pytest.mark.parametrize("change", [{}, {"idle_after": 7}, {"ttl": 7}, {"headless": True}])
def test_some_changes_need_none(change: dict[str, Any]) -> None:
    """What only the supervisor reads, and what is no change, costs no browser."""
    spec = SessionSpec()
    assert not spec.needs_new_browser(spec.merged(parse_spec(change)))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            {"browser": "firefox"},
            "browser='firefox' does not fit: Input should be 'headless_shell'",
        ),
        ({"headless": "maybe"}, "headless='maybe'"),
        ({"probe": {"cookies": "x"}}, "probe.cookies='x'"),
        ({"probe": {}}, "at least one of url, selector, text, cookie"),
        ({"idle_after": 0}, "idle_after=0 is not a duration"),
        ({"idle_after": "soon"}, "idle_after='soon'"),
        ({"idle_after": "nan"}, "idle_after='nan' does not fit: Input should be a finite number"),
        ({"ttl": "soon"}, "ttl='soon' is not a duration"),
        ({"locale": object}, "locale="),
        ({"vieport": {}, "storage_state": {}}, "storage_state, vieport: not an option"),
    ],
)
def test_a_bad_spec_is_refused(spec: dict[str, Any], says: str) -> None:
    """The message names the option, shows the value and says what fits."""
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(spec)
    _refused(caught, says)


def test_an_unknown_option_is_answered_with_the_known_ones() -> None:
    """Nobody has to look up how Playwright spells it."""
    with pytest.raises(ConfigurationError) as caught:
        parse_spec({"vieport": {}})
    assert all(name in caught.value.recovery for name in CONTEXT_OPTIONS | {"ttl", "probe"})


@pytest.mark.parametrize(
    "spec",
    [
        {"http_credentials": {"username": "u", "password": b"cAnary7"}},
        {"extra_http_headers": {"Authorization": b"cAnary7"}},
        {"proxy": {"server": "http://u:cAnary7@h", "password": {"cAnary7"}}},
        {"client_certificates": [{"passphrase": b"cAnary7"}]},
    ],
)
def test_a_refused_spec_shows_no_secret(spec: dict[str, Any]) -> None:
    """Neither in the message nor in the traceback: a proxy's password is hidden."""
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(spec)
    assert next(iter(spec)) in caught.value.message
    assert "cAnary7" not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}"
    assert caught.value.__suppress_context__


def test_a_spec_cannot_be_changed_behind_ones_back() -> None:
    """It is data, and unknown fields are refused."""
    with pytest.raises(ValueError, match="frozen"):
        SessionSpec().headless = False
    with pytest.raises(ValueError, match="Extra"):
        SessionSpec(colour="red")  # type: ignore[call-arg]
