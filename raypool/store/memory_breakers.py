"""The twin's circuit breakers."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from raypool.store.circuit import Breaker, BreakerState, Timing, parse_site

Breakers = list[Breaker]


@dataclass
class _Circuit:
    """What is kept of one site."""

    recent: list[datetime] = field(default_factory=list)
    failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    openings: int = 0
    permit_until: datetime | None = None
    forgotten_at: datetime | None = None


class MemoryBreakers:
    """See :class:`raypool.store.base.BreakerStore`."""

    def __init__(self, clock: Callable[[], datetime], timing: Timing | None = None) -> None:
        self._now, self._timing = clock, timing or Timing()
        self._circuits: dict[str, _Circuit] = {}

    async def ask(self, site: str) -> Breaker:
        """Ask whether to go to a site; see the protocol."""
        name, now = parse_site(site), self._now()
        circuit = self._known().get(name)
        if circuit is None or circuit.retry_at is None:
            return _shown(name, circuit, BreakerState.CLOSED)
        if now < circuit.retry_at:
            return _shown(name, circuit, BreakerState.OPEN)
        if circuit.permit_until and now < circuit.permit_until:
            shown = _shown(name, circuit, BreakerState.OPEN)
            return shown.model_copy(update={"retry_at": circuit.permit_until})
        circuit.permit_until = now + timedelta(seconds=self._timing.permit)
        return _shown(name, circuit, BreakerState.HALF_OPEN)

    async def report(self, site: str, ok: bool) -> Breaker:
        """Say how a call to a site went; see the protocol."""
        name, now = parse_site(site), self._now()
        if ok:
            self._circuits.pop(name, None)
            return Breaker(site=name)
        circuit = self._known().setdefault(name, _Circuit())
        if circuit.retry_at and now < circuit.retry_at:
            return _shown(name, circuit, BreakerState.OPEN)
        window = timedelta(seconds=self._timing.window)
        circuit.recent = [at for at in circuit.recent if now - at < window] + [now]
        was_open = circuit.opened_at is not None
        circuit.failures = circuit.failures + 1 if was_open else len(circuit.recent)
        if not was_open and len(circuit.recent) < self._timing.failures:
            circuit.forgotten_at = now + window
            return _shown(name, circuit, BreakerState.CLOSED)
        self._open(circuit, now)
        return _shown(name, circuit, BreakerState.OPEN)

    def _open(self, circuit: _Circuit, now: datetime) -> None:
        timing = self._timing
        pause = min(timing.pause * 2**circuit.openings, timing.longest_pause)
        pause *= 1 + random.uniform(0, timing.jitter)  # noqa: S311
        circuit.openings += 1
        circuit.opened_at = circuit.opened_at or now
        circuit.retry_at, circuit.permit_until = now + timedelta(seconds=pause), None
        circuit.forgotten_at = circuit.retry_at + timedelta(seconds=2 * timing.longest_pause)

    async def list(self) -> Breakers:
        """Return the sites that have failed lately; see the protocol."""
        return [_shown(name, c, self._state(c)) for name, c in sorted(self._known().items())]

    def _state(self, circuit: _Circuit) -> BreakerState:
        if circuit.retry_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if circuit.retry_at <= self._now() else BreakerState.OPEN

    def _known(self) -> dict[str, _Circuit]:
        now = self._now()
        gone = [n for n, c in self._circuits.items() if c.forgotten_at and c.forgotten_at <= now]
        for name in gone:
            del self._circuits[name]
        return self._circuits


def _shown(site: str, circuit: _Circuit | None, state: BreakerState) -> Breaker:
    if circuit is None:
        return Breaker(site=site, state=state)
    return Breaker(
        site=site,
        state=state,
        failures=circuit.failures,
        opened_at=circuit.opened_at,
        retry_at=circuit.retry_at,
    )
