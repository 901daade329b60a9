"""Print docs/configuration.md from the settings model: `python scripts/config_docs.py > docs/configuration.md`."""

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from raypool.config import NODE_LOCAL, Settings

HEAD = """# Configuration

Made from `raypool/config.py` by `scripts/config_docs.py`; a test keeps the two together.

Settings are environment variables, or arguments of `raypool.Settings(...)` in lower case without the `RAYPOOL_`. A wrong value is refused at the start, with variable, value and what fits. Durations are seconds.

| variable | default | what it is |
| --- | --- | --- |
"""
TAIL = f"""
{" and ".join(f"`RAYPOOL_{name.upper()}`" for name in NODE_LOCAL)} are read on each node from its own environment; everything else comes from whoever starts the fleet.

## Redis URLs

| form | for |
| --- | --- |
| `redis://[user:password@]host:6379[/0]` | one server |
| `rediss://…` | the same over TLS |
| `unix://[user:password@]/path/to/socket` | one server on this machine |
| `redis+sentinel://[user:password@]host1:26379,host2:26379/service` | the primary that Sentinel names (`rediss+sentinel://` for TLS). Written, not yet proven under failover |
| `redis+cluster://[user:password@]host:6379` | Redis Cluster, 16 partitions (`rediss+cluster://` for TLS). Written, not yet proven |

Characters such as `/ # ? [ @` in a password must be percent-encoded. The server must be Redis 7.0 or newer, or Valkey 8 or newer, with `maxmemory-policy noeviction`; `raypool doctor` says what is unsafe about it.
"""


def variable(info: FieldInfo) -> str:
    """Return the environment variable of a field."""
    alias = info.validation_alias
    assert isinstance(alias, AliasChoices)
    return str(alias.choices[0])


def default(info: FieldInfo) -> str:
    """Return a field's default for people."""
    value = info.default
    if value is None or isinstance(value, SecretStr) or value == "":
        return "—"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def document() -> str:
    """Return the whole document."""
    rows = [
        f"| `{variable(info)}` | {default(info)} | {info.description} |"
        for info in Settings.model_fields.values()
    ]
    return HEAD + "\n".join(rows) + "\n" + TAIL


if __name__ == "__main__":
    print(document(), end="")
