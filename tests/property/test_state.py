"""What holds for every state a browser may hand over and every text that may be redacted."""

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from raypool.redaction import HIDDEN, redact, redact_text
from raypool.state import COOKIES, decode, encode, parts_from_json

# Text of JavaScript: any UTF-16, halves of surrogate pairs and NUL included.
text = st.text(st.characters(codec=None), max_size=12)
payloads = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def _shuffled(payload: Any, dice: random.Random) -> Any:
    """Return an equal payload whose objects list their keys in another order."""
    if isinstance(payload, dict):
        keys = list(payload)
        dice.shuffle(keys)
        return {key: _shuffled(payload[key], dice) for key in keys}
    return [_shuffled(item, dice) for item in payload] if isinstance(payload, list) else payload


@given(payloads)
def test_a_part_comes_back_as_it_went(payload: Any) -> None:
    """Whatever JSON can hold, and whatever text a site put there."""
    assert decode("tabs", encode(payload)) == payload


@given(payloads)
def test_a_part_is_valid_json_for_other_programs(payload: Any) -> None:
    """Other services read it as UTF-8, without Python's leniency."""
    json.loads(encode(payload).decode("utf-8", errors="strict"))


@given(payloads, st.randoms(use_true_random=False))
def test_equal_payloads_are_equal_bytes(payload: Any, dice: random.Random) -> None:
    """The order of keys does not matter, so an unchanged part is stored once."""
    assert encode(_shuffled(payload, dice)) == encode(payload)


@given(payloads, payloads)
def test_different_payloads_are_different_bytes(one: Any, other: Any) -> None:
    """A change is never mistaken for no change."""
    if encode(one) == encode(other):
        assert one == other


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": text, "value": text, "domain": st.just("example.com")},
            optional={"expires": st.integers() | st.floats() | st.none() | text, "sameSite": text},
        )
    )
)
def test_cookies_of_others_become_cookies_of_ours(cookies: list[dict[str, Any]]) -> None:
    """Each keeps name and value; an expiry that is none makes a session cookie, never an error."""
    kept = decode(COOKIES, parts_from_json(json.dumps(cookies), None)[COOKIES])
    assert [(c["name"], c["value"]) for c in kept] == [(c["name"], c["value"]) for c in cookies]
    assert all(c["expires"] == -1 or 0 < c["expires"] < float("inf") for c in kept)
    assert all(c.get("sameSite", "Lax") in {"None", "Lax", "Strict"} for c in kept)


pieces = st.sampled_from([
    "password", "cookie", "otp", "_", "=", ":", '"', "'", "\\", "fill(", ")", "://", "@", "/", " ",
    "bearer ", "abcdefgh", "7", "\n", ",", ";", "[hidden]",
])  # fmt: skip


@given(st.lists(pieces, max_size=14).map("".join))
def test_redacting_twice_is_redacting_once(said: str) -> None:
    """An error may be logged, wrapped and logged again."""
    assert redact_text(redact_text(said)) == redact_text(said)


canaries = st.text(st.sampled_from("abcXYZ0189!$%+*~"), min_size=3, max_size=30).map("Cnry".__add__)
around = st.text(st.sampled_from("ab :/@?&=\n"), max_size=10)


@given(canaries, around, around)
def test_no_password_gets_out_of_a_url(canary: str, before: str, after: str) -> None:
    """Whatever stands around it."""
    assert canary not in redact_text(f"{before} redis://user:{canary}@host:6379 {after}")


@given(canaries, payloads)
def test_no_secret_gets_out_of_a_nest(canary: str, payload: Any) -> None:
    """A field that sounds like a secret hides all that is in it, however deep it lies."""
    nest = [{"a": ({"api_key": canary, "cookies": [payload, canary]}, payload)}]
    shown = redact(nest)
    assert canary not in repr(shown)
    assert shown[0]["a"][0] == {"api_key": HIDDEN, "cookies": HIDDEN}  # type: ignore[index]
