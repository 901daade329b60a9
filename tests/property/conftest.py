"""Hypothesis on machines that are shared: an example may be slow, the same ones run everywhere."""

from hypothesis import settings

settings.register_profile(
    "raypool", deadline=None, derandomize=True, max_examples=150, database=None
)
settings.load_profile("raypool")
