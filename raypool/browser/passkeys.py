"""Virtual passkeys: those of Playwright's authenticator (``context.credentials``).

It lives in Playwright's driver and stands before the pages of a context by init script, in those that
are open, in later ones and in pop-ups. What it holds can be read whole, private keys and counters too,
also when a page or an attached client made it. Passkeys of CDP's own WebAuthn domain are not kept: such
an authenticator ends with the session that made it, and no command or event tells its id to others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from playwright.async_api import BrowserContext
from playwright.async_api import Error as PlaywrightError

from raypool.browser.failures import first_line

# What ``credentials.create`` takes: all of a passkey that it gives out.
_NAMES = {
    "id": "id",
    "rpId": "rp_id",
    "userHandle": "user_handle",
    "privateKey": "private_key",
    "publicKey": "public_key",
    "signCount": "sign_count",
}


async def read_passkeys(context: BrowserContext) -> list[dict[str, Any]]:
    """Return the passkeys of a context, in the order of their ids; none if it never used them.

    Reading installs nothing: sites see what they saw before.
    """
    found = await context.credentials.get()
    return sorted((dict(passkey) for passkey in found), key=_id)


async def restore_passkeys(
    context: BrowserContext, passkeys: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Give a context its passkeys, before its first page opens; without any nothing is installed.

    All of them can be found without a name, as if their site had asked for that: Playwright does not
    say which ones could not.

    Returns:
        What could not be restored, by site.
    """
    lost = []
    for passkey in passkeys:
        try:
            await context.credentials.create(**{_NAMES[name]: passkey[name] for name in _NAMES})
        except (KeyError, PlaywrightError) as error:
            lost.append(f"passkey of {passkey.get('rpId')}: {first_line(error)}")
    if len(lost) < len(passkeys):
        await context.credentials.install()
    return lost


def _id(passkey: Mapping[str, Any]) -> str:
    return str(passkey["id"])
