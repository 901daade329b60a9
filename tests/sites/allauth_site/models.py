"""What the site remembers beside the tables of Django and django-allauth."""

from django.conf import settings
from django.db import models


class Account(models.Model):
    """The secrets of a user in the clear, so that a restarted site can print them again."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    password = models.CharField(max_length=64)
    totp_secret = models.CharField(max_length=64)


class SignIn(models.Model):
    """One sign-in that went through all of its stages."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    at = models.DateTimeField(auto_now_add=True)


class Device(models.Model):
    """A browser from which a user has signed in; ``token`` is the value of its device cookie."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    token = models.CharField(max_length=64)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["user", "token"], name="one_row_a_device"),)


class SentMail(models.Model):
    """One e-mail that the site sent to one recipient."""

    to = models.EmailField()
    subject = models.CharField(max_length=200)
    body = models.TextField()


class Post(models.Model):
    """A user's post."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.TextField()
    at = models.DateTimeField(auto_now_add=True)
