"""Have a node start worker processes ahead of the actors that will need them.

The only module that calls a raylet. Ray has no public way: a worker that ran a task of ours is never
given a detached actor, and `ray start` starts spares only once, for the first job. The call is
Ray's own, `NodeManagerService.PrestartWorkers`; `tests/integration/test_spares.py` fails when it moves.
"""

from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc

KEEP_S = 86_400
"""Ray ends what was idle for longer; by default that is a second."""
ANSWER_TIMEOUT_S = 5.0
_PYTHON = 0


def prestart(address: str, count: int) -> None:
    """Start *count* workers that any actor of any job without a runtime environment may take.

    Returns when they are being started. Blocks for up to five seconds.

    Args:
        address: ``host:port`` of the node's raylet.
        count: How many.

    Raises:
        grpc.RpcError: The raylet did not answer, or refused.
    """
    request = node_manager_pb2.PrestartWorkersRequest(  # type: ignore[attr-defined]
        language=_PYTHON, num_workers=count, keep_alive_duration_secs=KEEP_S
    )
    with init_grpc_channel(address) as channel:
        stub = node_manager_pb2_grpc.NodeManagerServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.PrestartWorkers(request, timeout=ANSWER_TIMEOUT_S)
