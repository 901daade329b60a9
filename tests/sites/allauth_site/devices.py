"""Which browsers a user has signed in from, and the notice when a new one appears."""

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse

from tests.sites.allauth_site.models import Device, SignIn

NOTICE_SUBJECT = "New sign-in to your account"
_COOKIE = "device"
_COOKIE_SECONDS = 400 * 24 * 3600  # the longest that Chromium keeps a cookie


def record_sign_in(
    request: HttpRequest, response: HttpResponse, user: User, **_signal: Any
) -> None:
    """Count a completed sign-in and warn the user by e-mail if its device is new."""
    SignIn.objects.create(user=user)
    token = request.get_signed_cookie(_COOKIE, default=None) or secrets.token_urlsafe(24)
    response.set_signed_cookie(
        _COOKIE, token, max_age=_COOKIE_SECONDS, httponly=True, samesite="Lax"
    )
    _device, is_new = Device.objects.get_or_create(user=user, token=token)
    if is_new:
        agent = request.headers.get("User-Agent", "an unknown browser")
        send_mail(NOTICE_SUBJECT, f"Somebody signed in with {agent}.", None, [user.email])
