"""What becomes of an instance whose start failed or whose life ended unasked: wait, or quarantine.

What was decided is written into the record, where the next supervisor finds it.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from actors.instance import Instance
from actors.life import Death
from raypool.crashes import LOCKED_RETRY_S, backoff, failed
from raypool.errors import ErrorCodes, RaypoolError, create_error
from raypool.logs import get_logger
from raypool.phase import Phase
from raypool.store.base import SessionStore

log = get_logger(__name__)


class Failures:
    """Notes failures.

    Args:
        records: Where what must outlive this supervisor is written.
        clock: Monotonic seconds.
        dice: Numbers in [0, 1).
    """

    def __init__(
        self, records: SessionStore, clock: Callable[[], float], dice: Callable[[], float]
    ) -> None:
        self._records, self._clock, self._dice = records, clock, dice

    async def failed(self, instance: Instance, error: RaypoolError, holder_id: str) -> None:
        """Let the next try wait its turn, or none come any more.

        Args:
            instance: Whose start failed, or whose life ended.
            error: Why.
            holder_id: Who had, or was to have, its lease.
        """
        if instance.phase is Phase.STOPPING:
            return
        instance.error = error
        if error.context.get("death_certain"):  # it died in its start, lease in hand
            instance.supersedes = holder_id
        delay = self._delay(instance, error)
        instance.retry_at = self._clock() + delay
        await self.remember(instance, error, delay)
        quarantined = instance.supervision.quarantined
        instance.out(Phase.QUARANTINED if quarantined else Phase.BACKOFF)
        log.warning(
            "start failed", business_id=instance.business_id, error=str(error), retry_in=delay
        )

    async def remember(self, instance: Instance, error: RaypoolError, delay: float) -> None:
        """Note a failure where the next supervisor finds it."""
        if error.code is ErrorCodes.SESSION_LOCKED:
            return  # nothing is wrong with it
        progress = instance.ready_at > 0 and (
            instance.progressed(self._clock()) or await self._worked(instance)
        )
        before, at = instance.supervision, datetime.now(UTC)
        instance.supervision = failed(before, error, at, delay, progress=progress)
        instance.ready_at, instance.vitals = 0.0, {}
        await self._write(instance)

    def _delay(self, instance: Instance, error: RaypoolError) -> float:
        chance, asked = self._dice(), error.retry_after or 0.0
        if error.code is ErrorCodes.SESSION_LOCKED:
            return min(asked, LOCKED_RETRY_S) + chance * 0.2
        return max(backoff(instance.supervision.failures + 1, chance), asked)

    async def _worked(self, instance: Instance) -> bool:
        """Tell whether the life that ended had worked: it may have died before we asked it again."""
        try:
            session = await self._records.get_session(instance.session_id)
        except RaypoolError:
            return False
        seen = session.observed if session else None
        return seen is not None and seen.worked and seen.incarnation == instance.number

    async def _write(self, instance: Instance) -> None:
        try:
            await self._records.supervise(instance.session_id, instance.supervision)
        except RaypoolError as error:
            log.warning("not remembered", business_id=instance.business_id, error=error.message)


def lost(death: Death) -> RaypoolError:
    """Return the error that a death amounts to."""
    if death.certain:
        code, context = ErrorCodes.BROWSER_INSTANCE_LOST, {"death_certain": True}
        return create_error(code, f"it died: {death.reason}", context)
    return create_error(ErrorCodes.NETWORK_RAY_UNREACHABLE, f"its node is gone: {death.reason}")


def as_ours(error: Exception) -> RaypoolError:
    """Return an error of ours for whatever a start raised."""
    if isinstance(error, RaypoolError):
        return error
    if isinstance(error, TimeoutError):
        return create_error(ErrorCodes.BROWSER_INSTANCE_NOT_READY, "it did not come up in time")
    return create_error(ErrorCodes.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
