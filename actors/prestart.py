"""Have a node start worker processes ahead of the actors that will need them.

The only module that calls a raylet. Ray has no public way: a worker that ran a task of ours is never
given a detached actor, and `ray start` starts spares only once, for the first job. The call is
Ray's own, `NodeManagerService.PrestartWorkers`; `tests/integration/test_spares.py` fails when it moves.
"""

import grpc  # type: ignore[import-untyped]
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import node_manager_pb2, node_manager_pb2_grpc

from raypool.errors import ErrorCodes, create_error

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
        NetworkError: The raylet did not answer, or refused (``NETWORK_RAY_UNREACHABLE``).
    """
    request = node_manager_pb2.PrestartWorkersRequest(  # type: ignore[attr-defined]
        language=_PYTHON, num_workers=count, keep_alive_duration_secs=KEEP_S
    )
    with init_grpc_channel(address) as channel:
        stub = node_manager_pb2_grpc.NodeManagerServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            stub.PrestartWorkers(request, timeout=ANSWER_TIMEOUT_S)
        except grpc.RpcError as error:  # its own text has many lines, and is another one each time
            raise create_error(
                ErrorCodes.NETWORK_RAY_UNREACHABLE,
                f"the raylet at {address} starts no worker ahead: {error.code().name}",
            ) from error
