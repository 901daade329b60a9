"""The bugs: each is one small change of the product, and the shortest run that must find it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """One text in one file, put in the place of another that is there exactly once."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """Return *text* with the change.

        Raises:
            ValueError: The old text is not there exactly once: the product has moved on, and the bug
                must be planted anew.
        """
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} has {found} times: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Bug:
    """A bug, and how to find it."""

    name: str
    changes: Sequence[Change]
    caught_by: str
    """What one of the violations says."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """How ``python -m tests.chaos`` is run."""


def _run(stage: str, *kinds: str, **more: str) -> dict[str, str]:
    quiet = {"CHAOS_BUSINESSES": "1", "CHAOS_SECONDS": "0"}
    return {"CHAOS_STAGES": stage, "CHAOS_KINDS": ",".join(kinds), **quiet, **more}


BUGS = (
    Bug(
        "no-fence-check",
        [
            Change(
                "raypool/store/lua/shared.lua",
                "  local mine = tonumber(token)\n",
                "  do return false end\n  local mine = tonumber(token)\n",
            )
        ],
        "a write with a stale token was accepted",
        _run("embedded", "kill-actor"),
    ),
    Bug(
        "release-before-death",
        [
            Change(
                "actors/tenure.py",
                "        await self.clear()\n        self.home.remove()\n        self._keeper.stop()\n",
                "        self._keeper.stop()\n"
                "        await self._leases.release(self._lease)\n"
                "        await asyncio.sleep(8)\n"
                "        await self.clear()\n        self.home.remove()\n",
            ),
            # Closing in order ends the browser before the lease comes into it.
            Change(
                "actors/farewell.py",
                '        await place.save("stop")\n        await place.close()\n',
                '        await place.save("stop")\n',
            ),
            Change(
                "actors/session.py",
                "        if place and tenure:\n            await place.drop()\n",
                "        if place and tenure:\n",
            ),
        ],
        "pinged until",
        _run("shared", "hand-over"),
    ),
    Bug(
        "unknown-as-absent",
        [
            Change(
                "actors/lives.py",
                "            await self._unheard(instance, handle)\n",
                "            await self._actors.kill(handle)\n"
                "            instance.go(Phase.ABSENT)\n",
            )
        ],
        "unanswered-probe cost",
        _run("embedded", "unanswered-probe"),
    ),
    Bug(
        "save-after-sign-out",
        [
            Change(
                "raypool/store/checkpoints.py",
                "            if is_passed_over(kept.manifests[version].meta):",
                "            if False:",
            ),
            # What it costs shows only where nobody goes back to the last good state either.
            Change(
                "actors/fallback.py",
                "    if step is Step.FALL_BACK:\n",
                "    if False:\n",
            ),
        ],
        "signed in again",
        _run("acks", CHAOS_ACKS="1"),
    ),
    Bug(
        "ack-before-write",
        [
            Change(
                "actors/session.py",
                '            await self._save(place, "run")\n            await self._worked()\n',
                "            self._loop.call_later(\n"
                '                1.0, lambda: self._loop.create_task(self._save(place, "run"))\n'
                "            )\n            await self._worked()\n",
            )
        ],
        "was acknowledged, then read as",
        _run("acks", CHAOS_ACKS="1"),
    ),
)
