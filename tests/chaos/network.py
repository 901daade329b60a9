"""Two hosts on one machine: this one, and another behind two cables, in a network namespace.

One cable leads to the cluster (Redis, Ray's head), the other to the web (the sites). The first can be
pulled out: what runs over there is then cut off from its cluster, but not from the web.
"""

import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_NEAR, _FAR = 1, 2


class Network:
    """A namespace with its cables, for the ``with`` block. Needs root and iproute2.

    Raises:
        OSError: There is no ``ip``.
        subprocess.CalledProcessError: It was refused.
    """

    def __init__(self) -> None:
        self._name = f"rp{secrets.token_hex(3)}"
        subnet = secrets.randbelow(60)
        self._addresses = {"c": f"10.231.{subnet}", "w": f"10.232.{subnet}"}

    @property
    def cluster(self) -> str:
        """This host's address for the cluster."""
        return f"{self._addresses['c']}.{_NEAR}"

    @property
    def far(self) -> str:
        """The other host's address for the cluster."""
        return f"{self._addresses['c']}.{_FAR}"

    @property
    def web(self) -> str:
        """This host's address for the web."""
        return f"{self._addresses['w']}.{_NEAR}"

    def over_there(self, *command: str) -> Sequence[str]:
        """Return *command* as it is run on the other host."""
        return ("ip", "netns", "exec", self._name, *command)

    def is_over_there(self, pid: int) -> bool:
        """Tell whether a process runs on the other host."""
        here, there = (Path(f"/proc/{who}/ns/net").readlink() for who in ("self", pid))
        return here != there

    def pull_out(self) -> bool:
        """Cut the other host off from the cluster; tell whether nothing arrives any more."""
        self._ip("-n", self._name, "link", "set", self._cable("c", _FAR), "down")
        return not self._reaches(self.cluster) and self._reaches(self.web)

    def plug_in(self) -> None:
        """Connect the other host to the cluster again. Idempotent."""
        self._ip("-n", self._name, "link", "set", self._cable("c", _FAR), "up")

    def __enter__(self) -> Self:
        self._ip("netns", "add", self._name)
        try:
            self._ip("-n", self._name, "link", "set", "lo", "up")
            for kind, address in self._addresses.items():
                near, far = self._cable(kind, _NEAR), self._cable(kind, _FAR)
                self._ip("link", "add", near, "type", "veth", "peer", far, "netns", self._name)
                self._ip("addr", "add", f"{address}.{_NEAR}/30", "dev", near)
                self._ip("link", "set", near, "up")
                self._ip("-n", self._name, "addr", "add", f"{address}.{_FAR}/30", "dev", far)
                self._ip("-n", self._name, "link", "set", far, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("netns", "del", self._name)  # the cables go with it

    def _cable(self, kind: str, end: int) -> str:
        return f"{self._name}{kind}{end}"

    def _reaches(self, address: str) -> bool:
        # One packet to the discard port: the kernel itself says whether there is a way.
        probe = "import socket,sys; s = socket.socket(2, 2); s.connect((sys.argv[1], 9))"
        command = self.over_there("python3", "-c", probe, address)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


def unavailable() -> str | None:
    """Return why this machine has no such network, None when it has."""
    try:
        with Network():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs root and network namespaces: {error}"
