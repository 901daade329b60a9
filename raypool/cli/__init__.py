"""The command line. `raypool --help` lists the commands; each one takes ``--json``."""

from raypool.cli.app import main

__all__ = ["main"]
