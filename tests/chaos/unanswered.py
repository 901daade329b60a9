"""A supervisor that has just been killed asks a busy actor how it is, and gets no answer."""

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import targets
from tests.chaos.client import Client
from tests.chaos.nemesis import Nemesis, happened
from tests.chaos.targets import Find

HOLD_S = 7.0
"""Less than what a lease of 15 s has left when it was not renewed for a third of its time."""
PATIENCE_S = 2.5
"""Above the supervisor's patience with one probe."""
BEGIN_TIMEOUT_S = 15.0


@dataclass
class UnansweredProbe(Nemesis):
    """A function holds the whole interpreter of an actor while the supervisor is killed.

    The new one hears nothing. That is unknown, not absent: the actor keeps its browser.
    """

    client: Client = field(kw_only=True)
    supervisor: Find = field(kw_only=True)

    async def strike(self, business_id: str) -> bool:
        old = await asyncio.to_thread(self.supervisor, business_id)
        if old is None:
            return False
        with tempfile.TemporaryDirectory(prefix="raypool-chaos-") as directory:
            begun = Path(directory) / "begun"
            holding = asyncio.create_task(
                self.client.do(
                    "hold_still", business_id, "tests.chaos.work:hold_still", str(begun), HOLD_S
                )
            )
            fired = await happened(begun.exists, BEGIN_TIMEOUT_S)
            over_at = time.monotonic() + HOLD_S
            fired = fired and await asyncio.to_thread(targets.kill, old)
            fired = fired and await self._back(business_id, over_at - PATIENCE_S)
            await holding
        return fired

    async def _back(self, business_id: str, deadline: float) -> bool:
        """Tell whether a new supervisor was there early enough to have asked in vain."""
        while time.monotonic() < deadline:
            if await asyncio.to_thread(self.supervisor, business_id):
                return True
            await asyncio.sleep(0.05)
        return False
