"""Settings: read from the environment by their own names only, wrong values refused at the door."""

import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from raypool.config import NODE_LOCAL, Settings
from raypool.errors import ConfigurationError, ErrorCodes

CANARY = "cAnary7x-Key"
SECRETS = {
    "redis_url": f"redis://u:{CANARY}@h:6379/0",
    "database_url": f"postgresql://u:{CANARY}@h/db",
    "encryption_keys": CANARY,
}


def test_everything_has_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing set: the contract's defaults, an embedded server, a local Ray."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings()
    assert (settings.redis_url, settings.ray_address, settings.chromium) == (None, None, None)
    assert (settings.redis_prefix, settings.session_ttl) == ("social-genius:", 86_400.0)
    assert (settings.namespace, settings.cluster) == ("raypool", socket.gethostname())
    assert settings.data_dir == tmp_path / "raypool"


def test_without_xdg_data_lives_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The usual place of a user's data."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().data_dir == tmp_path / ".local" / "share" / "raypool"
    monkeypatch.setenv("RAYPOOL_DATA_DIR", "~/here")
    assert Settings().data_dir == tmp_path / "here"


GOOD = [
    ("REDIS_URL", "redis://h:6379", "redis_url", None),
    ("REDIS_URL", "rediss+sentinel://h:26379/master", "redis_url", None),
    ("REDIS_URL", "unix:///run/redis.sock", "redis_url", None),
    ("REDIS_PREFIX", "p:", "redis_prefix", "p:"),
    ("SESSION_TTL", "60", "session_ttl", 60.0),
    ("RAYPOOL_DURABILITY", "server", "durability", "server"),
    ("RAYPOOL_REPLICAS", "2", "replicas", 2),
    ("DATABASE_URL", "postgresql://h/db", "database_url", None),
    ("RAYPOOL_ENCRYPTION_KEYS", "a,b", "encryption_keys", None),
    ("RAYPOOL_CHROMIUM", "/opt/chromium", "chromium", Path("/opt/chromium")),
    ("RAYPOOL_DATA_DIR", "/var/lib/raypool", "data_dir", Path("/var/lib/raypool")),
    ("RAYPOOL_RAY_ADDRESS", "auto", "ray_address", "auto"),
    ("RAYPOOL_RAY_ADDRESS", "head:6379", "ray_address", "head:6379"),
    ("RAYPOOL_NAMESPACE", "team-a", "namespace", "team-a"),
    ("RAYPOOL_CLUSTER", "blue", "cluster", "blue"),
    ("RAYPOOL_LEASE_TTL", "2", "lease_ttl", 2.0),
    ("RAYPOOL_DASHBOARD", "no", "dashboard", False),
    ("RAYPOOL_MAX_LIVE_PER_NODE", "12", "max_live_per_node", 12),
    ("RAYPOOL_IDLE_AFTER", "60", "idle_after", 60.0),
    ("RAYPOOL_SPARE_WORKERS", "3", "spare_workers", 3),
    ("RAYPOOL_MEMORY_RESERVE", "0.2", "memory_reserve", 0.2),
    ("RAYPOOL_RECYCLE_AFTER", "3600", "recycle_after", 3600.0),
    ("RAYPOOL_RECYCLE_MEMORY", "4096", "recycle_memory", 4096),
    ("RAYPOOL_RECYCLE_PAGES", "0", "recycle_pages", 0),
    ("RAYPOOL_MAX_QUEUED", "5", "max_queued", 5),
    ("RAYPOOL_START_TIMEOUT", "1.5", "start_timeout", 1.5),
    ("RAYPOOL_COMMAND_TIMEOUT", "86400", "command_timeout", 86_400.0),
    ("RAYPOOL_PROBE_EVERY", "60", "probe_every", 60.0),
    ("RAYPOOL_LOG_FORMAT", "json", "log_format", "json"),
    ("RAYPOOL_LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
]


@pytest.mark.parametrize(("variable", "text", "field", "value"), GOOD)
def test_a_good_value_is_taken_from_environment_and_argument(
    variable: str, text: str, field: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways give the same setting."""
    given = Settings(**{field: text})
    monkeypatch.setenv(variable, text)
    assert getattr(Settings(), field) == getattr(given, field)
    shown = getattr(given, field)
    assert (shown.get_secret_value() == text) if value is None else (shown == value)


def test_every_setting_is_tried_above() -> None:
    """A new setting comes with a good value here."""
    assert {field for _, _, field, _ in GOOD} >= set(Settings.model_fields)


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_a_strangers_variable_is_not_ours(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOG_LEVEL, NAMESPACE, CLUSTER and the like belong to other programs."""
    own = str(Settings.model_fields[field].validation_alias.choices[0])  # type: ignore[union-attr]
    before = getattr(Settings(), field)
    for name in {field, field.upper(), f"RAYPOOL_{field.upper()}", own.lower()} - {own}:
        monkeypatch.setenv(name, "\x01 not for us")
    assert getattr(Settings(), field) == before


BAD = [
    ("REDIS_PREFIX", "", "at least 1 character"),
    ("REDIS_PREFIX", "a{b}", "should match pattern"),
    ("REDIS_PREFIX", "a b", "should match pattern"),
    ("SESSION_TTL", "0", "greater than 0"),
    ("SESSION_TTL", "a day", "valid number"),
    ("SESSION_TTL", "nan", "finite number"),
    ("RAYPOOL_DURABILITY", "disk", "'server', 'replica' or 'replica_fsync'"),
    ("RAYPOOL_DURABILITY", "replica", "set REDIS_URL"),
    ("RAYPOOL_REPLICAS", "0", "greater than or equal to 1"),
    ("RAYPOOL_RAY_ADDRESS", "head", "should match pattern"),
    ("RAYPOOL_NAMESPACE", "a b", "should match pattern"),
    ("RAYPOOL_CLUSTER", "x" * 65, "at most 64 characters"),
    ("RAYPOOL_LEASE_TTL", "1", "greater than or equal to 2"),
    ("RAYPOOL_DASHBOARD", "maybe", "valid boolean"),
    ("RAYPOOL_MAX_LIVE_PER_NODE", "-1", "greater than or equal to 0"),
    ("RAYPOOL_MAX_LIVE_PER_NODE", "1.5", "valid integer"),
    ("RAYPOOL_START_TIMEOUT", "0", "greater than or equal to 1"),
    ("RAYPOOL_COMMAND_TIMEOUT", "1e9", "less than or equal to 86400"),
    ("RAYPOOL_LOG_FORMAT", "xml", "'auto', 'console' or 'json'"),
    ("RAYPOOL_LOG_LEVEL", "debug", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
]


@pytest.mark.parametrize(("variable", "value", "fits"), BAD)
def test_a_bad_value_is_refused(
    variable: str, value: str, fits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names variable and value and says what fits."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert caught.value.code is ErrorCodes.CONFIG_INVALID
    assert caught.value.message.startswith(f"{variable}={value!r} does not fit: ")
    assert fits in caught.value.message
    assert variable in caught.value.recovery


def test_a_bad_argument_is_named_by_its_variable() -> None:
    """One name for a setting, wherever it came from; a misspelled one is named as it was given."""
    with pytest.raises(ConfigurationError, match=r"^RAYPOOL_LEASE_TTL=1 does not fit"):
        Settings(lease_ttl=1)
    with pytest.raises(ConfigurationError, match=r"^lease_til=5 does not fit"):
        Settings(lease_til=5)


@pytest.mark.parametrize(
    "values",
    [
        {"redis_url": f"http://u:{CANARY}@h"},
        {"redis_url": CANARY},
        {"redis_url": [CANARY]},
        {"database_url": [CANARY]},
        {"encryption_keys": [CANARY]},
        {"api_token": CANARY},
        {"ray_address": f"http://u:{CANARY}@h/x y"},
    ],
)
def test_a_refused_secret_is_not_shown(values: dict[str, Any]) -> None:
    """Neither in the message nor in the traceback that people paste into reports."""
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}"
    assert "[hidden]" in caught.value.message
    assert caught.value.__suppress_context__


def test_a_refused_redis_url_says_what_fits() -> None:
    """Every scheme that works is listed."""
    with pytest.raises(
        ConfigurationError, match=r"^REDIS_URL=\[hidden\] .* redis://, rediss://, unix://"
    ):
        Settings(redis_url="amqp://h")


def test_settings_never_show_their_secrets() -> None:
    """Not in repr, str, a dump or its JSON."""
    settings = Settings(**SECRETS)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert CANARY not in shown


def test_settings_reach_other_processes_whole() -> None:
    """Pickled to an actor they still hold the secrets, and still hide them."""
    settings = Settings(**SECRETS, session_ttl=7)
    back = pickle.loads(pickle.dumps(settings))
    assert back == settings
    for field, secret in SECRETS.items():
        assert getattr(back, field).get_secret_value() == secret
    assert CANARY not in repr(back)


def test_settings_do_not_change() -> None:
    """Whoever holds them can rely on them."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().namespace = "other"


def test_a_node_adds_only_what_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor takes Chromium and data directory from its node, and all else from the driver."""
    driver = Settings(
        **SECRETS, chromium=Path("/driver/chromium"), namespace="theirs", session_ttl=7
    )
    for variable, text, _, _ in GOOD:
        monkeypatch.setenv(variable, text)
    here = driver.on_this_node()
    assert (here.chromium, here.data_dir) == (Path("/opt/chromium"), Path("/var/lib/raypool"))
    assert here.model_dump(exclude=set(NODE_LOCAL)) == driver.model_dump(exclude=set(NODE_LOCAL))
    assert here.redis_url == driver.redis_url
    monkeypatch.delenv("RAYPOOL_CHROMIUM")
    assert driver.on_this_node().chromium is None


def test_a_nodes_other_variables_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value in a variable that the node does not need stops nothing there."""
    driver = Settings(session_ttl=7)
    monkeypatch.setenv("SESSION_TTL", "a day")
    assert driver.on_this_node().session_ttl == 7


def test_replicas_need_a_server_that_has_some() -> None:
    """The embedded server would refuse every write."""
    with pytest.raises(ConfigurationError, match="RAYPOOL_DURABILITY.*REDIS_URL"):
        Settings(durability="replica")
    assert Settings(durability="replica", redis_url="redis://h").replicas == 1
