"""What the package gives out by name is what it says, however often and in whatever order."""

import importlib.util
import subprocess
import sys

import pytest

import raypool


@pytest.mark.parametrize("name", raypool.__all__)
def test_no_public_name_is_also_a_module(name: str) -> None:
    """Importing a module puts it into its package: one named like a function would replace it."""
    assert importlib.util.find_spec(f"raypool.{name}") is None


def test_connect_is_a_function_in_every_spelling() -> None:
    """`from raypool import connect` and `raypool.connect` give the same, again and again."""
    script = "\n".join((
        "from raypool import connect_async, connect",
        "import raypool",
        "assert callable(connect) and callable(connect_async)",
        "assert raypool.connect is raypool.connect is connect",
    ))  # fmt: skip
    subprocess.run([sys.executable, "-c", script], check=True)
