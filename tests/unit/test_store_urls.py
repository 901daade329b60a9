"""Addresses of servers: every password works as people paste it, and none is ever shown."""

import traceback

import pytest
from pydantic import SecretStr
from redis.asyncio.connection import SSLConnection
from redis.exceptions import BusyLoadingError, ResponseError

from raypool.errors import ConfigurationError, ErrorCodes, RaypoolError
from raypool.store.client import build_client, partitions_for, shown, translated

PASSWORDS = [
    "plain",
    "sla/sh",
    "a@t",
    "ha#sh",
    "brack[et",
    "quest?ion",
    "100%",
    "col:on",
    "ü &",
]


def connection_of(url: str) -> dict[str, object]:
    """Return what a client for *url* would connect with."""
    found: dict[str, object] = build_client(
        SecretStr(url), "test"
    ).connection_pool.connection_kwargs
    return found


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("redis://me:", "@db.example:6380/3"),
        ("unix://me:", "@/run/r@ypool/s"),
        ("redis+sentinel://me:", "@s1:26379,s2/primary"),
    ],
)
def test_a_password_works_as_it_is(before: str, after: str, password: str) -> None:
    """Whatever it holds, and wherever a URL parser would have cut it."""
    found = connection_of(f"{before}{password}{after}")
    assert (found["username"], found["password"]) == ("me", password)


@pytest.mark.parametrize("password", PASSWORDS)
def test_an_escaped_password_works_too(password: str) -> None:
    """As the standard for URLs wants it."""
    from urllib.parse import quote

    found = connection_of(f"redis://:{quote(password, safe='')}@db.example:6380/3")
    assert found["password"] == password
    assert (found["host"], found["port"], found["db"]) == ("db.example", 6380, 3)


def test_a_url_without_a_password_is_left_alone() -> None:
    """The path of a socket may hold what looks like the end of a password."""
    assert connection_of("unix:///run/me@home/s")["path"] == "/run/me@home/s"
    assert connection_of("redis://db.example")["host"] == "db.example"


@pytest.mark.parametrize("url", ["redis://me:hush@db:no-port/0", "redis://me:hush@[db/0"])
def test_a_url_that_cannot_be_understood_is_refused(url: str) -> None:
    """The error names the host, and neither it nor its traceback shows the password."""
    with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
        build_client(SecretStr(url), "test")
    assert caught.value.code is ErrorCodes.CONFIG_INVALID
    assert "hush" not in "".join(traceback.format_exception(caught.value))
    assert "hush" not in f"{caught.value!r}{caught.value.to_dict()}"


@pytest.mark.parametrize("password", PASSWORDS)
def test_an_address_is_shown_without_its_password(password: str) -> None:
    """In messages and in the doctor's report."""
    assert shown(SecretStr(f"rediss://me:{password}@db:6380/0?a=b")) == "rediss://db:6380/0"


def test_the_scheme_says_how_to_connect() -> None:
    """TLS with an s, sixteen partitions on a cluster."""
    secure = build_client(SecretStr("rediss://db.example"), "test").connection_pool
    assert secure.connection_class is SSLConnection
    assert partitions_for(SecretStr("redis+cluster://db:6379")) == 16
    assert partitions_for(SecretStr("redis://:a[b@db:6379")) == 1


def test_a_refused_command_is_a_bug_not_an_outage() -> None:
    """What Redis will refuse again is not told as something that passes by itself."""
    url = SecretStr("redis://h")
    with pytest.raises(RaypoolError) as caught, translated(url):
        raise ResponseError("user_script:3: Script attempted to access a nil value")
    assert (caught.value.code, caught.value.retryable) == (ErrorCodes.INTERNAL_ERROR, False)
    with pytest.raises(RaypoolError) as caught, translated(url):
        raise BusyLoadingError("LOADING")
    assert caught.value.code is ErrorCodes.STORAGE_UNAVAILABLE
