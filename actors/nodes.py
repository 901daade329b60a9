"""The nodes of the Ray cluster: which live, which are being drained, what they offer.

The only module that touches Ray's GcsClient, which is private: nothing public tells that a node is
being drained, and nothing public drains one. `tests/unit/test_nodes.py` fails when it moves.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.exceptions import RayError

from raypool.errors import ErrorCodes, create_error

BROWSER_RESOURCE = "browser"
ANSWER_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Node:
    """One node, as Ray's head knows it. The head learns of a lost node only by its health timers."""

    node_id: str
    alive: bool
    draining_deadline: float | None
    """Date (POSIX seconds) at which a node that is being drained may be gone; infinity when nobody
    said; None: it is not being drained."""
    slots: int
    """How many businesses it takes: its resource ``browser``."""
    address: str
    port: int
    """Where its raylet listens."""
    labels: Mapping[str, str]
    is_head: bool

    @property
    def usable(self) -> bool:
        """Whether new work may be put there. Ray itself puts nothing on a node that is drained."""
        return self.alive and self.draining_deadline is None


class RayNodes:
    """The nodes of the cluster that this process is connected to. Every call blocks: use a thread.

    Args:
        timeout: Seconds within which the head must answer.
    """

    def __init__(self, timeout: float = ANSWER_TIMEOUT_S) -> None:
        self._timeout = timeout

    def nodes(self) -> list[Node]:
        """Return every node, dead ones too, in the order of their ids.

        Raises:
            NetworkError: The head did not answer in time. That says nothing about the nodes.
        """
        try:
            # Asked first: a node that ends in between is then dead, not suddenly undrained.
            draining = _gcs().get_draining_nodes(timeout=self._timeout)
            known = _gcs().get_all_node_info(timeout=self._timeout)
        except RayError as error:
            raise _no_answer(error) from error
        return sorted((_node(info, draining) for info in known.values()), key=lambda n: n.node_id)

    def drain(self, node_id: str, reason: str, deadline_s: float) -> bool:
        """Let nothing new onto a node; return whether it is being drained, False when it is not alive.

        What runs there goes on. Ray ends the node by itself as soon as nothing runs there any more;
        nobody ends it at the deadline. Draining cannot be taken back; draining again sets the
        deadline anew.

        Args:
            node_id: Ray's id of the node, in hex.
            reason: Shown to people.
            deadline_s: Seconds from now.

        Raises:
            NetworkError: The head did not answer in time; it may be done or not.
        """
        # Ray says yes to any id, also to one that it never saw.
        if not any(node.alive for node in self.nodes() if node.node_id == node_id):
            return False
        # A drain for idleness may be refused, one for preemption never is.
        why = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION  # type: ignore[attr-defined]
        deadline_ms = int((time.time() + deadline_s) * 1000)
        try:
            accepted, _ = _gcs().drain_node(
                node_id, why, reason, deadline_ms, timeout=self._timeout
            )
        except RayError as error:
            raise _no_answer(error) from error
        return bool(accepted)


def _gcs() -> Any:
    return ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]  # noqa: SLF001


def _node(info: Any, draining: Mapping[str, int]) -> Node:
    node_id = info.node_id.hex()
    return Node(
        node_id=node_id,
        alive=info.state == gcs_pb2.GcsNodeInfo.ALIVE,  # type: ignore[attr-defined]
        draining_deadline=_deadline(draining.get(node_id)),
        slots=int(info.resources_total.get(BROWSER_RESOURCE, 0)),
        address=info.node_manager_address,
        port=info.node_manager_port,
        labels=dict(info.labels),
        is_head=info.is_head_node,
    )


def _deadline(milliseconds: int | None) -> float | None:
    if milliseconds is None:
        return None
    return milliseconds / 1000 if milliseconds else math.inf


def _no_answer(error: RayError) -> Exception:
    return create_error(
        ErrorCodes.NETWORK_RAY_UNREACHABLE, f"Ray's head does not answer about its nodes: {error}"
    )
