"""The site's own Django application."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Registers what the site does when a sign-in is complete."""

    name = "tests.sites.allauth_site"
    label = "allauth_site"

    def ready(self) -> None:
        """Connect the handler once the models are loaded."""
        from allauth.account.signals import user_logged_in

        from tests.sites.allauth_site.devices import record_sign_in

        user_logged_in.connect(record_sign_in)
