"""A browser together with the state that it came from and that is saved from it."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from actors.fallback import settle
from actors.keeper import now
from actors.ports import Browser, Launcher, State, Stores
from actors.presence import Presence
from actors.tenure import Tenure
from raypool.errors import LeaseLost, StorageError
from raypool.logs import get_logger
from raypool.model import Checkpoint, CheckpointInfo, CheckpointMeta, Condition, Session
from raypool.retry import with_retry
from raypool.signin.probe import look
from raypool.signin.trust import (
    after_look,
    fell_back,
    is_look_due,
    known_before,
    needs_human,
    verdict_for,
)
from raypool.state import same_sign_in, session_cookies
from raypool.status import NEEDS_HUMAN

log = get_logger(__name__)

FELL_BACK, PROBE = "FellBack", "Probe"
"""Types of conditions, beside those of the last start and save."""
KEPT_EVERY_S = 600.0
"""Of what changes by itself a version is kept this often."""
COMMIT_ATTEMPTS = 30
"""About a minute: a command rather takes longer than end with its work done and not saved."""


class Workplace(Presence):
    """The browser of one incarnation, through all the browsers that it may need.

    Args:
        session: Record that says what browser is wanted.
        stores: Where the state comes from and goes to.
        launcher: Starts browsers on this node.
        tenure: The right to act; every save carries its token.
        node_id: Written into the checkpoints.
        on_lost: Called when the browser dies unasked, with the reason.
    """

    def __init__(
        self,
        session: Session,
        stores: Stores,
        launcher: Launcher,
        tenure: Tenure,
        node_id: str,
        on_lost: Callable[[str], None],
    ) -> None:
        super().__init__(session.business_id, tenure, on_lost)
        self.session = session
        self.checkpoint: CheckpointInfo | None = None
        self.sign_in = known_before(session)
        self.looked_at = now()
        """When somebody last looked whether it is signed in; before that, when it was made."""
        self.conditions: Mapping[str, Condition] = {}
        self.unsaved = False
        """Whether the browser holds what the store has not acknowledged, because it could not."""
        self._stores, self._launcher, self._node_id = stores, launcher, node_id
        self._parts: Mapping[str, bytes] = {}
        self._notes: tuple[str, ...] = ()
        self._vouched: Mapping[str, bytes] | None = None
        """Its parts when somebody last looked; None: nobody did, or that does not count any more."""
        self._state = asyncio.Lock()
        self._kept_at = now()

    async def open(self) -> None:
        """Launch a browser and bring back the newest usable state: at start and after a loss.

        Waits for a save that is under way: what it gets acknowledged must be in the new browser.

        Raises:
            BrowserError: It did not come up, or died while it did.
        """
        async with self._state:
            # A spec that was changed meanwhile takes effect with this browser.
            self.session = await self._stores.sessions.get_session(self.session.id) or self.session
            found, notes = await self._stores.checkpoints.load_usable(self.session.id)
            self._notes, known = notes, self.sign_in
            await self.bring_up(found)
            load = partial(self._stores.checkpoints.load, self.session.id)
            last_good = self.session.last_good_version
            good = await settle(self, known, found, last_good, load)
            self._tell(found, good)
        if good:
            await self._keep(good)

    async def bring_up(self, found: Checkpoint | None) -> None:
        """Have a browser that holds *found*, and look whether it is signed in.

        One that is up gets another state, so that going back costs no second start.

        Raises:
            BrowserError: It did not come up, or died while it did.
        """
        self._parts = found.parts if found else {}
        self.checkpoint = found.info if found else None
        self.lost = asyncio.get_running_loop().create_future()
        spec, before, self.browser = self.session.spec, self.browser, None
        self.browser, warnings = await (
            before.anew(spec, self._parts)
            if before
            else self._launcher.launch(spec, self._tenure.home, self._parts, self.gone)
        )
        self.unsaved = False
        self._tenure.freeze_if_off_line()  # it may have come up behind the keeper's back
        await self.browser.open_tabs(self._parts, warnings)
        await self._look(self.present, self._parts)
        if self.browser is None:
            raise self.lost_error()
        self._note("Started", (*self._notes, *warnings))

    def _tell(self, found: Checkpoint | None, good: Checkpoint | None) -> None:
        """Keep for people what the looks after a restore came to."""
        told = fell_back(found.info, good.info) if found and good else ()
        self._note(FELL_BACK, told, "SignedOut")
        self._note(NEEDS_HUMAN, needs_human(self.session, self.sign_in), "SignedOut")
        for line in told:
            log.warning("fell back", business_id=self.session.business_id, how=line)

    async def _keep(self, good: Checkpoint) -> None:
        """Make the version that was gone back to the newest one."""
        self._vouched = None  # its tabs have asked the site for pages since
        try:
            await self.save(f"fell back to {good.info.version}")
        except StorageError as error:  # tried again when the store is looked at
            log.warning("not saved yet", error=error.message)

    async def verify(self) -> None:
        """Look whether it is signed in, and save what that came to."""
        self._vouched = None
        await self.save("looked")

    async def save(self, reason: str, attempts: int | None = None) -> CheckpointInfo:
        """Save the whole state; what did not change costs nothing. Returns the acknowledged version.

        Args:
            reason: Why, for the manifest.
            attempts: How often the store is asked; None: for about a minute.

        Raises:
            InstanceLost: The browser died before all of its state was read.
        """
        browser = self.present
        async with self._state:
            collected, looked = await self._examined(browser)
            self._kept_at = now()
            meta = self._meta(collected, reason, looked=looked)
            return await self._write(collected, meta, attempts or COMMIT_ATTEMPTS)

    async def save_changes(self) -> None:
        """Save what the browser is known to have changed by itself; nothing when it has not.

        Does not insist: what is not acknowledged now goes with the next save.

        Raises:
            InstanceLost: As in :meth:`save`.
            StorageError: The store could not take it.
        """
        async with self._state:
            if self.browser is None:
                return
            collected = await self.read(self.browser, everything=False)
            if self.unsaved or collected.parts != self._parts:
                passing = now() - self._kept_at < KEPT_EVERY_S
                self._kept_at = self._kept_at if passing else now()
                meta = self._meta(collected, "changed", passing=passing)
                await self._write(collected, meta, attempts=1)

    def _meta(
        self, collected: State, reason: str, *, looked: bool = False, passing: bool = False
    ) -> CheckpointMeta:
        probe = self.session.spec.probe
        seen, now_there = self._vouched, collected.parts
        changed = probe is not None and (seen is None or not same_sign_in(seen, now_there))
        sign_in, unverified = verdict_for(self.sign_in, probe, changed, looked)
        return CheckpointMeta(
            reasons=(reason,),
            node_id=self._node_id,
            sign_in=sign_in,
            warnings=tuple(collected.warnings),
            passing=passing,
            unverified=unverified,
        )

    async def _write(self, collected: State, meta: CheckpointMeta, attempts: int) -> CheckpointInfo:
        self.unsaved = True
        info = await self._commit(collected, meta, attempts)
        self._parts, self.checkpoint, self.unsaved = collected.parts, info, False
        self._note("Saved", meta.warnings)
        return info

    async def reassure(self) -> None:
        """Look whether the store still has what it acknowledged; where it has not, write it again.

        A server may come back empty, or a replica without the newest writes may take over.

        Raises:
            SessionNotFound: The session was deleted or has expired.
            LeaseLost: Somebody else has the business.
        """
        acknowledged = self.checkpoint.version if self.checkpoint else 0
        sessions, token = self._stores.sessions, self._tenure.token
        found = await sessions.get_session(self.session.id)
        if found is None:
            log.error("the store lost the session; it is written again")
            found = await sessions.rewrite_lost(self.session, token)
        if found.checkpoint_version < acknowledged or self.unsaved:
            await self.save("reassured", attempts=1)  # it is looked at again soon

    async def _commit(
        self, collected: State, meta: CheckpointMeta, attempts: int
    ) -> CheckpointInfo:
        operation = uuid.uuid4().hex  # the same for each attempt: a lost reply must not save twice

        async def attempt() -> CheckpointInfo | LeaseLost:
            try:
                return await self._stores.checkpoints.save(
                    self.session.id,
                    self._tenure.token,
                    collected.parts,
                    meta,
                    op_id=operation,
                    after=self.checkpoint.version if self.checkpoint else 0,
                )
            except LeaseLost as error:  # its callers may try again, elsewhere; this life may not
                return error

        answer = await with_retry(attempt, base_delay=0.2, max_delay=2.0, max_attempts=attempts)
        if isinstance(answer, LeaseLost):
            raise answer
        return answer

    async def _examined(self, browser: Browser) -> tuple[State, bool]:
        """Return the whole state, and whether somebody looked at it as it is."""
        probe, collected = self.session.spec.probe, await self.read(browser, everything=True)
        if probe is None:
            return collected, False
        seen, now_there = self._vouched, collected.parts
        changed = seen is None or session_cookies(seen) != session_cookies(now_there)
        looked = is_look_due(self.sign_in, probe, changed)
        if looked:
            await self._look(browser, collected.parts)
        if looked and probe.opens_page:  # the site may have answered with other cookies
            collected = await self.read(browser, everything=True)
            self._vouched = collected.parts
        return collected, looked

    async def close(self) -> None:
        """Close the browser in order. Nothing is saved from now on: its tabs go one by one."""
        async with self._state:
            browser, self.browser = self.browser, None
        if browser:
            browser.abandon()
            await browser.close()

    async def _look(self, browser: Browser, parts: Mapping[str, bytes]) -> None:
        """Look whether it is signed in while it holds *parts*, and keep what that came to."""
        _, context = browser.components
        seen = await look(self.session.spec.probe, context, await browser.page())
        self.sign_in = after_look(self.sign_in, seen.sign_in)
        self.looked_at, self._vouched = now(), parts
        self._note(PROBE, (seen.why,) if seen.why else (), "Failed")
        self._note(NEEDS_HUMAN, needs_human(self.session, self.sign_in), "SignedOut")

    def _note(self, kind: str, warnings: tuple[str, ...], reason: str = "Warnings") -> None:
        """Keep what people should know of the last start, save or look; nothing when it went well."""
        others = {k: c for k, c in self.conditions.items() if k != kind}
        if warnings:
            others[kind] = Condition(
                type=kind, reason=reason, message="; ".join(warnings), since=datetime.now(UTC)
            )
        self.conditions = others
