"""A Django site with accounts of django-allauth: password, one-time code, signed-in devices, posts.

Run it with ``python -m tests.sites.allauth_site --directory DIR --port 0``.
"""
