"""Workers on the loopback address: their addresses and TF_CONFIG."""

import json
import socket
from contextlib import ExitStack


def free_addresses(n):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]


def tf_config(addresses, index):
    """TF_CONFIG of one of the workers."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})
