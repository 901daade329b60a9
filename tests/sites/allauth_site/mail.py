"""An outbox that can be counted."""

from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from tests.sites.allauth_site.models import SentMail


class TableBackend(BaseEmailBackend):
    """Keeps each e-mail as rows of a table, one a recipient, instead of sending it."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Store the messages and return how many there were."""
        SentMail.objects.bulk_create(
            SentMail(to=recipient, subject=message.subject, body=message.body)
            for message in email_messages
            for recipient in message.recipients()
        )
        return len(email_messages)
