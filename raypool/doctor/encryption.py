"""The encryption keys: are they there, and are they keys?"""

import stat
from importlib import import_module
from pathlib import Path

from pydantic import SecretStr

from raypool.config import Settings
from raypool.doctor.background import in_thread
from raypool.doctor.report import Check, Finding, Level, conclude

_NAME = "encryption"
_GENERATE = (
    "Run `raypool keys generate` once and set RAYPOOL_ENCRYPTION_KEYS to what it prints, here and"
    " wherever else the same Redis is used."
)


async def check_encryption(settings: Settings) -> Check:
    """Can session data be encrypted?"""
    if settings.encryption_keys is not None:
        count = await in_thread(_parsed, settings.encryption_keys)
        return Check(_NAME, Level.OK, f"RAYPOOL_ENCRYPTION_KEYS holds {count} (the first writes)")
    if settings.redis_url is not None:
        saw = "REDIS_URL is set but RAYPOOL_ENCRYPTION_KEYS is not: nothing is stored in plain"
        return Check(_NAME, Level.FAIL, saw, _GENERATE)
    return await in_thread(_judge_file, settings.data_dir / "encryption.key")


def _parsed(keys: SecretStr) -> str:
    # Imported late: cryptography takes a while to load, and the other checks need not wait.
    import_module("raypool.store.crypto").Keyring.parse(keys)
    count = len([key for key in keys.get_secret_value().split(",") if key.strip()])
    return f"{count} key" + ("s" if count > 1 else "")


def _judge_file(path: Path) -> Check:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        _parsed(SecretStr(path.read_text().strip()))
    except FileNotFoundError:
        return Check(_NAME, Level.OK, f"A key file will be made at first use: {path}")
    except PermissionError:
        do = f"Run as the user who owns it, or run `chown $USER {path}`."
        return Check(_NAME, Level.FAIL, f"The key file {path} cannot be read by this user", do)
    return conclude(_NAME, f"Key file {path}, mode {mode:04o}", [_judge_mode(path, mode)])


def _judge_mode(path: Path, mode: int) -> Finding | None:
    if not mode & 0o077:
        return None
    return Finding(Level.WARN, "Other users may read it", f"Run `chmod 600 {path}`.")
