"""This machine: Python, packages, and browsers that nobody owns."""

import re
import sys
from importlib import metadata

from raypool.browser.processes import living_browsers
from raypool.doctor.background import in_thread
from raypool.doctor.report import Check, Level

_OLDEST_PYTHON = (3, 11)


async def check_python() -> Check:
    """Is this Python new enough?"""
    version = ".".join(map(str, sys.version_info[:3]))
    saw = f"Python {version} at {sys.executable}"
    if sys.version_info >= _OLDEST_PYTHON:
        return Check("python", Level.OK, saw)
    return Check(
        "python", Level.FAIL, saw, "Make the virtual environment with Python 3.11 or newer."
    )


async def check_package(package: str) -> Check:
    """Is *package* installed, in a version that raypool was made for? Does not import it."""
    name = f"{package} package"
    oldest = await in_thread(_oldest, package)
    wanted = f"{package}>={oldest}" if oldest else package
    repair = f"Run `pip install '{wanted}'` with {sys.executable}, or `make demo` for all set-up."
    try:
        version = await in_thread(metadata.version, package)
    except metadata.PackageNotFoundError:
        return Check(name, Level.FAIL, f"{package} is not installed", repair)
    if _numbers(version) < _numbers(oldest):
        return Check(name, Level.FAIL, f"{package} {version}; {oldest} is the oldest", repair)
    return Check(name, Level.OK, f"{package} {version}")


def _oldest(package: str) -> str:
    """Return the oldest version of *package* that our own metadata allows; empty if unknown."""
    try:
        lines = metadata.requires("raypool") or []
    except metadata.PackageNotFoundError:
        return ""
    ours = (line for line in lines if re.match(rf"{package}\b(?!-)", line))
    return next((found[1] for line in ours if (found := re.search(r">=([\d.]+)", line))), "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


async def check_orphans() -> Check:
    """Do browsers run whose owner is dead?"""
    suspects = await in_thread(_ownerless)
    if suspects:
        # One that was starting just now had no owner noted yet; a second look tells.
        suspects &= await in_thread(_ownerless)
    if not suspects:
        return Check("orphans", Level.OK, "No browser without an owner")
    businesses = ", ".join(sorted({business for business, _ in suspects})[:5])
    return Check(
        "orphans",
        Level.WARN,
        f"Browsers whose owner is dead: {len(suspects)} (of {businesses})",
        "Run `raypool doctor --audit --repair` here, or start the fleet (`raypool up`).",
    )


def _ownerless() -> set[tuple[str, int]]:
    """Return business and token of each such browser, however many processes it has."""
    return {(b.business_id, b.token) for b in living_browsers() if not b.owner_alive}
