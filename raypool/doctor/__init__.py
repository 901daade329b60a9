"""Connectivity checks: what `raypool doctor` looks at, what it saw, and what to do about it."""

from raypool.doctor.examine import examine
from raypool.doctor.report import Check, Level, exit_code, render, to_json

__all__ = ["Check", "Level", "examine", "exit_code", "render", "to_json"]
