"""The users that the site starts with."""

import secrets

from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import User
from django.db import transaction

from tests.sites.allauth_site.models import Account


@transaction.atomic
def ensure_accounts(count: int) -> list[dict[str, str]]:
    """Create what is missing of ``count`` users and return the secrets of all that exist."""
    for number in range(Account.objects.count() + 1, count + 1):
        _create_account(f"user{number}@example.test")
    accounts = Account.objects.select_related("user").order_by("pk")
    return [
        {"email": one.user.email, "password": one.password, "totp_secret": one.totp_secret}
        for one in accounts
    ]


def _create_account(email: str) -> None:
    password, totp_secret = secrets.token_urlsafe(12), generate_totp_secret()
    user = User.objects.create_user(email, email, password)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    TOTP.activate(user, totp_secret)
    Account.objects.create(user=user, password=password, totp_secret=totp_secret)
