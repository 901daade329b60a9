"""The shape of a browser's saved state: named parts, each JSON, each on its own.

One part is one unit of change, of failure and of encryption: a site that cannot be saved costs its
own parts and nothing else. Their names are in :mod:`raypool.state.areas`.
"""

from raypool.state.areas import (
    COOKIES,
    CREDENTIALS,
    PERMISSIONS,
    TABS,
    Area,
    Kind,
    by_area,
    key_of,
    laid_over,
    lasts,
)
from raypool.state.buckets import Buckets
from raypool.state.cookies import session_cookies
from raypool.state.form import decode, encode
from raypool.state.incoming import parts_from_json
from raypool.state.likeness import same_sign_in

__all__ = [
    "COOKIES",
    "CREDENTIALS",
    "PERMISSIONS",
    "TABS",
    "Area",
    "Buckets",
    "Kind",
    "by_area",
    "decode",
    "encode",
    "key_of",
    "laid_over",
    "lasts",
    "parts_from_json",
    "same_sign_in",
    "session_cookies",
]
