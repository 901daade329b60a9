"""Settings: the only reader of the environment. `docs/configuration.md` is made from this model."""

import os
import socket
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from raypool.errors import ErrorCodes, create_error
from raypool.redaction import HIDDEN, is_secret_name, redact_text

REDIS_SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
NODE_LOCAL = ("chromium", "data_dir")
"""Settings that each node reads from its own environment, whatever the driver's says."""


def _named(variable: str, default: Any = ..., **rules: Any) -> Any:
    return Field(default, validation_alias=AliasChoices(variable), **rules)


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "raypool"


class Settings(BaseSettings):
    """All that can be set, from the environment or as ``Settings(redis_url=…)``.

    Raises:
        ConfigurationError: A value does not fit; the message names variable, value and what fits.
    """

    # Fields have names too, and pydantic would read those from the environment: with the prefix a
    # stranger's LOG_LEVEL or NAMESPACE is not taken for ours.
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        case_sensitive=True,
        allow_inf_nan=False,
        env_prefix="RAYPOOL_",
    )

    redis_url: SecretStr | None = _named(
        "REDIS_URL",
        None,
        description="Redis or Valkey to use: `redis://`, `rediss://`, `unix://`. "
        "Unset: an embedded server.",
    )
    redis_prefix: str = _named(
        "REDIS_PREFIX",
        "social-genius:",
        min_length=1,
        max_length=64,
        pattern=r"^[^\s{}]+$",
        description="What every key begins with. Fleets with different prefixes do not see each other.",
    )
    session_ttl: float = _named(
        "SESSION_TTL",
        86_400.0,
        gt=0,
        le=10 * 365 * 86_400,
        description="Seconds that a session outlives its last activity.",
    )
    durability: Literal["server", "replica", "replica_fsync"] = _named(
        "RAYPOOL_DURABILITY",
        "server",
        description="When a write counts as done: when the `server` has it (as safe as its "
        "`appendfsync`), when a `replica` has it too, or when both have it on disk "
        "(`replica_fsync`; Redis 7.2 or Valkey). Needs REDIS_URL.",
    )
    replicas: int = _named(
        "RAYPOOL_REPLICAS",
        1,
        ge=1,
        le=16,
        description="How many replicas must have a write, unless RAYPOOL_DURABILITY is `server`.",
    )
    database_url: SecretStr | None = _named(
        "DATABASE_URL",
        None,
        description="Postgres of a neighbouring service; only `raypool doctor` looks at it.",
    )
    encryption_keys: SecretStr | None = _named(
        "RAYPOOL_ENCRYPTION_KEYS",
        None,
        description="Comma-separated base64 keys of 32 bytes; the first writes, all read. "
        "Needed with REDIS_URL; the embedded server keeps a key file.",
    )
    chromium: Path | None = _named(
        "RAYPOOL_CHROMIUM",
        None,
        description="Chromium executable to use instead of searching for one.",
    )
    data_dir: Path = _named(
        "RAYPOOL_DATA_DIR",
        None,
        validate_default=True,
        description="Where the embedded server, the key file and the local fleet live. "
        "Default: `$XDG_DATA_HOME/raypool`, or `~/.local/share/raypool`.",
    )
    ray_address: str | None = _named(
        "RAYPOOL_RAY_ADDRESS",
        None,
        pattern=r"^(auto|[^\s/]+:\d{1,5}|ray://\S+)$",
        description="Ray cluster to use (`host:6379`, or `auto`). Unset: a local Ray.",
    )
    namespace: str = _named(
        "RAYPOOL_NAMESPACE",
        "raypool",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Ray namespace of the fleet's actors.",
    )
    cluster: str = _named(
        "RAYPOOL_CLUSTER",
        "",
        max_length=64,
        description="Name of this cluster, shown to whoever finds a business locked. "
        "Default: the host's name.",
    )
    lease_ttl: float = _named(
        "RAYPOOL_LEASE_TTL",
        15.0,
        ge=2,
        le=300,
        description="Seconds that an owner which cannot be reached keeps its business.",
    )
    dashboard: bool = _named(
        "RAYPOOL_DASHBOARD",
        True,
        description="Whether a local Ray runs its dashboard (on the loopback interface).",
    )
    max_live_per_node: int = _named(
        "RAYPOOL_MAX_LIVE_PER_NODE",
        0,
        ge=0,
        le=10_000,
        description="Browsers that a node may run at once, if it offers as many; for a local Ray "
        "0 means what the memory allows (400 MB each).",
    )
    idle_after: float = _named(
        "RAYPOOL_IDLE_AFTER",
        1800.0,
        ge=0,
        le=30 * 86_400,
        description="Seconds without a call after which a browser is hibernated: saved and closed; "
        "the next call wakes it. 0: never. A business's own `idle_after` comes first.",
    )
    spare_workers: int = _named(
        "RAYPOOL_SPARE_WORKERS",
        2,
        ge=0,
        le=64,
        description="Worker processes that each node keeps ready, 60 MB each: a business whose "
        "process died is back in a third of the time. 0: none.",
    )
    memory_reserve: float = _named(
        "RAYPOOL_MEMORY_RESERVE",
        0.08,
        ge=0,
        lt=1,
        description="Share of a node's memory that is kept free: below it the least recently used "
        "idle browsers are hibernated. 0: never.",
    )
    recycle_after: float = _named(
        "RAYPOOL_RECYCLE_AFTER",
        6 * 3600.0,
        ge=0,
        description="Seconds after which a browser is replaced, between two commands. 0: never.",
    )
    recycle_memory: int = _named(
        "RAYPOOL_RECYCLE_MEMORY",
        2048,
        ge=0,
        description="MB of driver and browser above which it is replaced, between two commands. "
        "0: never.",
    )
    recycle_pages: int = _named(
        "RAYPOOL_RECYCLE_PAGES",
        1000,
        ge=0,
        description="Pages opened after which a browser is replaced, between two commands. 0: never.",
    )
    max_queued: int = _named(
        "RAYPOOL_MAX_QUEUED",
        100,
        ge=1,
        le=100_000,
        description="Commands that may wait for one business; one more is refused at once.",
    )
    start_timeout: float = _named(
        "RAYPOOL_START_TIMEOUT",
        90.0,
        ge=1,
        le=3600,
        description="Seconds that an instance may take to be ready, restored and verified.",
    )
    command_timeout: float = _named(
        "RAYPOOL_COMMAND_TIMEOUT",
        600.0,
        gt=0,
        le=86_400,
        description="Seconds that a function may run when `run` is not told a `timeout`.",
    )
    probe_every: float = _named(
        "RAYPOOL_PROBE_EVERY",
        900.0,
        ge=0,
        le=30 * 86_400,
        description="Seconds, give or take a fifth, between two looks whether an idle business is "
        "still signed in. 0: only after a restore and when a command changed cookies.",
    )
    log_format: Literal["auto", "console", "json"] = _named(
        "RAYPOOL_LOG_FORMAT",
        "auto",
        description="`json`, `console`, or `auto`: console on a terminal.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _named(
        "RAYPOOL_LOG_LEVEL", "INFO", description="Lowest level that is logged."
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explained(error) from None  # pydantic's text would show secret values

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().partition("://")[0] not in REDIS_SCHEMES:
            raise ValueError(
                f"the URL must begin with one of {', '.join(f'{s}://' for s in REDIS_SCHEMES)}"
            )
        return value

    @field_validator("durability")
    @classmethod
    def _has_replicas(cls, value: str, info: ValidationInfo) -> str:
        if value != "server" and info.data.get("redis_url") is None:
            raise ValueError(
                "the embedded server has no replicas: set REDIS_URL, or leave it unset"
            )
        return value

    @field_validator("data_dir", mode="before")
    @classmethod
    def _home(cls, value: Any) -> Any:
        return Path(value).expanduser().absolute() if value else _default_data_dir()

    @field_validator("cluster")
    @classmethod
    def _hostname(cls, value: str) -> str:
        return value or socket.gethostname()

    def on_this_node(self) -> Self:
        """Return these settings with what is local to a node read from this node's environment."""
        given = {n: getattr(self, n) for n in type(self).model_fields if n not in NODE_LOCAL}
        return type(self)(**given)


def _explained(error: ValidationError) -> Exception:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "settings"
    info = Settings.model_fields.get(field)
    alias = info.validation_alias if info else None
    variable = str(alias.choices[0]) if isinstance(alias, AliasChoices) else field
    secret = "URL" in variable or is_secret_name(variable)
    value = HIDDEN if secret else redact_text(repr(first.get("input")))
    return create_error(
        ErrorCodes.CONFIG_INVALID,
        f"{variable}={value} does not fit: {first['msg'].removeprefix('Value error, ')}",
        recovery=f"Correct or unset {variable}; docs/configuration.md lists what fits.",
    )
