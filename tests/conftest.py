"""What holds for every test: nothing of the developer's shell leaks in."""

import os

_PREFIXES = ("REDIS_", "RAYPOOL_", "RAY_")
_NAMES = {"SESSION_TTL", "DATABASE_URL"}

for _name in [n for n in os.environ if n.startswith(_PREFIXES) or n in _NAMES]:
    del os.environ[_name]
