"""A janitor that is gone is replaced in the round that finds it gone."""

from typing import Any

from actors.janitors import Janitors
from raypool.errors import ErrorCodes, create_error


class Runtime:
    """One node; each janitor that is made there answers unless it is dead."""

    def __init__(self) -> None:
        self.made, self.dead = 0, set[int]()

    async def janitor(self, node_id: str) -> int:
        self.made += 1
        return self.made

    async def call(self, janitor: int, method: str, *args: Any, timeout: float) -> Any:
        if janitor in self.dead:
            raise create_error(ErrorCodes.BROWSER_INSTANCE_LOST, "the actor died")
        held = [{"holder_id": "owner", "owner": "stopped"}]
        return {"report": {"number": janitor}, "inspect": held}[method]


async def test_the_next_janitor_is_heard_at_once() -> None:
    """Whoever is silent meanwhile can be asked after: nobody waits for the next round."""
    runtime = Runtime()
    janitors = Janitors(runtime)  # type: ignore[arg-type]
    await janitors.look_after(["n1"])
    runtime.dead.add(1)
    await janitors.look_after(["n1"])
    assert janitors.reports == {"n1": {"number": 2}}
    assert await janitors.state("n1", "owner") == "stopped"


async def test_one_that_does_not_come_up_is_made_in_the_next_round() -> None:
    """Its name may not be free yet, or its process dies as it starts."""
    runtime = Runtime()
    janitors = Janitors(runtime)  # type: ignore[arg-type]
    await janitors.look_after(["n1"])
    runtime.dead |= {1, 2}
    await janitors.look_after(["n1"])
    assert janitors.reports == {}
    assert await janitors.state("n1", "owner") is None
    await janitors.look_after(["n1"])
    assert janitors.reports == {"n1": {"number": 3}}
