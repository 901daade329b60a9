"""Permissions that were granted while the browser ran (``context.grant_permissions``).

Nothing lists them: documents are asked. A grant shows in that Chromium denies everything else to the
same origin (https://chromedevtools.github.io/devtools-protocol/tot/Browser/#method-grantPermissions,
"and reject all others"); without one at least a camera still prompts. So no list of what a kind and
version of the browser grants by itself is needed, and Chromium's headless shell and full Chromium
differ much there.
"""

from collections.abc import Collection, Mapping, Sequence

from playwright.async_api import BrowserContext
from playwright.async_api import Error as PlaywrightError

from raypool.browser.databases import Answers
from raypool.browser.failures import first_line

_SENSORS = frozenset({"accelerometer", "gyroscope", "magnetometer"})
"""Chromium grants all or none of them."""
_NEVER_DENIED = "storage-access"
_DESCRIPTORS = {"midi-sysex": {"name": "midi", "sysex": True}}
# Playwright's names, except for ambient-light-sensor, which documents cannot ask for.
_NAMES = (
    "geolocation", "midi", "midi-sysex", "notifications", "camera", "microphone", "background-sync",
    "accelerometer", "gyroscope", "magnetometer", "clipboard-read", "clipboard-write",
    "payment-handler", "storage-access", "local-fonts", "local-network-access", "screen-wake-lock",
)  # fmt: skip


async def read_permissions(document: Answers, given: Collection[str]) -> list[str] | None:
    """Return what was granted to a document's origin at run time.

    Args:
        document: A page's own document: those of frames have no say.
        given: The ``permissions`` that the context was made with.

    Returns:
        Names as ``context.grant_permissions`` takes them, sorted: all that the origin has now. None
        when nothing was granted since the context was made.

    Raises:
        Exception: The document is gone.
    """
    asked = [(name, _DESCRIPTORS.get(name, {"name": name})) for name in _NAMES]
    states = await document.call("permissionStates", asked)
    return None if states is None else granted(states, given)


def granted(states: Mapping[str, str], given: Collection[str]) -> list[str] | None:
    """Return what was granted at run time, as in :func:`read_permissions`. Pure.

    Args:
        states: What a document says of each permission that its browser knows.
        given: The ``permissions`` that the context was made with.
    """
    if any(state == "prompt" for name, state in states.items() if name != _NEVER_DENIED):
        return None
    found = {name for name, state in states.items() if state == "granted"}
    return None if found == _as_read(given) & set(states) else sorted(found)


async def restore_permissions(
    context: BrowserContext, permissions: Mapping[str, Sequence[str]]
) -> list[str]:
    """Grant each origin what it had, and deny it the rest.

    Playwright's own call does it, which keeps a list: a later call for the same origin then adds to it.

    Returns:
        What could not be restored, by origin.
    """
    lost = []
    for origin, names in permissions.items():
        unknown = sorted(set(names).difference(_NAMES))
        lost += [f"permission {name} of {origin}: unknown" for name in unknown]
        try:
            await context.grant_permissions([n for n in names if n in _NAMES], origin=origin)
        except PlaywrightError as error:
            lost.append(f"permissions of {origin}: {first_line(error)}")
    return lost


def _as_read(given: Collection[str]) -> set[str]:
    sensors = {"ambient-light-sensor", *_SENSORS}
    return {*given} - sensors | (_SENSORS if sensors & {*given} else set())
