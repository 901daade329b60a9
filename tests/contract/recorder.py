"""Notes what a manager asks of its server, so that a test can tell what a call cost."""

from typing import Any

from raypool.store.sessions import RedisSessionManager


class Recorder:
    """Stands between a manager and its connection from now on; changes nothing."""

    def __init__(self, manager: RedisSessionManager) -> None:
        self.asked: list[str] = []
        """Names of scripts and commands, in order; ``HGETALL`` for each hash."""
        self.answers: list[str] = []
        """What writing scripts answered, as ``name:answer``."""
        connection: Any = manager._connection
        script, command, hashes = connection.script, connection.command, connection.hashes

        async def recorded_script(name: str, *args: Any, **more: Any) -> Any:
            self.asked.append(name)
            answer = await script(name, *args, **more)
            if name in {"commit", "put_parts", "drop_parts"}:
                self.answers.append(f"{name}:{answer[0].decode()}")
            return answer

        async def recorded_command(*parts: Any) -> Any:
            self.asked.append(str(parts[0]))
            return await command(*parts)

        async def recorded_hashes(keys: Any) -> Any:
            self.asked += ["HGETALL"] * len(keys)
            return await hashes(keys)

        connection.script = recorded_script
        connection.command = recorded_command
        connection.hashes = recorded_hashes

    def clear(self) -> None:
        """Forget what was asked so far."""
        self.asked.clear()
        self.answers.clear()
