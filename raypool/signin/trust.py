"""What a verdict is worth: for the version that is saved, and after a restore. Pure."""

from enum import Enum, auto

from raypool.model import CheckpointInfo, Session, SignIn
from raypool.spec import Probe

_SIGNED_OUT = frozenset({SignIn.SIGNED_OUT, SignIn.NEEDS_HUMAN})


def verdict_for(
    known: SignIn,
    probe: Probe | None,
    cookies_changed: bool,
    looked: bool,
) -> tuple[SignIn, bool]:
    """Return the verdict of a version, and whether it is unverified; what is known stays as it is.

    An unverified version is kept and started from, but does not become ``last_good``. So a save in
    the middle of a command, which cannot look, costs neither the sign-in that it may hold nor the
    last state that was good.

    Args:
        known: What the last look said.
        probe: How to look; without one nobody ever does, and every version is as good as the last.
        cookies_changed: Whether anything changed since that look in which a sign-in may live.
        looked: Whether that look was at the very state that is saved.
    """
    if probe is None:
        return SignIn.UNKNOWN, False
    if cookies_changed and not looked:
        return SignIn.UNKNOWN, True
    return known, known is SignIn.UNKNOWN


def is_look_due(
    known: SignIn,
    probe: Probe | None,
    cookies_changed: bool,
) -> bool:
    """Tell whether a save that can look has to: a look that opens a page is made only with reason.

    Args:
        known: What the last look said.
        probe: How to look.
        cookies_changed: Whether a cookie came, went or was renewed since, as at a sign-in or -out.
    """
    if probe is None:
        return False
    return not probe.opens_page or cookies_changed or known is not SignIn.SIGNED_IN


def known_before(session: Session) -> SignIn:
    """Return what is known of a business before the first look of a new life."""
    needed = session.observed.sign_in is SignIn.NEEDS_HUMAN and session.spec.probe is not None
    return SignIn.NEEDS_HUMAN if needed else SignIn.UNKNOWN


def after_look(known: SignIn, seen: SignIn) -> SignIn:
    """Return what is known after a look: a person is needed until somebody is signed in again."""
    return known if known is SignIn.NEEDS_HUMAN and seen is not SignIn.SIGNED_IN else seen


class Step(Enum):
    """What follows from the look after a restore."""

    GO_ON = auto()
    FALL_BACK = auto()
    """The last good version is tried, once."""
    ASK_HUMAN = auto()
    """No kept state is signed in."""


def after_restore(
    seen: SignIn, known: SignIn, restored: CheckpointInfo | None, last_good: int
) -> Step:
    """Decide what follows from the look at a state that was just restored.

    Args:
        seen: What the look said. Only a site that shows nobody signed in has refused the state: one
            that is down has not.
        known: What was known before it; whether the last good version was tried in vain already.
        restored: The version; None: there was none.
        last_good: Number of the last good version; 0: there is none.
    """
    if seen not in _SIGNED_OUT:
        return Step.GO_ON
    if known is SignIn.NEEDS_HUMAN:
        return Step.ASK_HUMAN
    if restored is None or restored.chosen or not last_good:
        return Step.GO_ON  # never signed in, or a person wanted exactly this state
    return Step.ASK_HUMAN if restored.version == last_good else Step.FALL_BACK


def fell_back(left: CheckpointInfo, good: CheckpointInfo) -> tuple[str, ...]:
    """Return what people are told of a state that was left for the last good one."""
    return (
        f"the site had signed version {left.version} out: it went back to version {good.version}",
    )


def needs_human(session: Session, known: SignIn) -> tuple[str, ...]:
    """Return what people are told to do where no kept state is signed in any more."""
    if known is not SignIn.NEEDS_HUMAN:
        return ()
    return (
        f"the site has signed {session.business_id} out, and its last good version "
        f"{session.last_good_version} as well: sign it in again, with a function for `run` or "
        "by hand through `attach`",
    )
