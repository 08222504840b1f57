"""Several processes that train one model together; every function here is trivial where there is one.

The first of them prints and writes; what it alone does may fail, and then fails in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import jax
from jax._src.distributed import global_state  # the key-value store: it waits for hours, collectives on a CPU do not

from data_pipeline.errors import BadInput, MqcError

HOURS = 24
LOOPBACK = ("127.0.0.1", "localhost")
_turns = count()


def initialize(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Meet the other processes; before anything else is asked of JAX.

    `coordinator` is host:port of the first process, or 'auto' where SLURM, Kubernetes, or a TPU pod says who is who.
    Raises BadInput.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    by_hand: dict[str, Any] = {}
    if coordinator == "auto" and (num_processes, process_id) != (None, None):
        raise BadInput("--coordinator auto finds the processes by itself; leave out --num_processes and --process_id")
    if coordinator != "auto":
        if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
            raise BadInput(
                f"--coordinator {coordinator} needs --num_processes N and --process_id from 0 to N - 1, not "
                f"{num_processes} and {process_id}"
            )
        host, _, port = coordinator.rpartition(":")
        if not (host and port.isdecimal()):
            raise BadInput(f"--coordinator {coordinator}: write host:port of the first process, or auto")
        by_hand = {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
        if host in LOOPBACK:  # JAX would listen on every address, and asks nobody who they are
            by_hand |= {"coordinator_bind_address": coordinator, "cluster_detection_method": "deactivate"}
    try:
        jax.distributed.initialize(**by_hand, shutdown_timeout_seconds=60)
    except (ValueError, RuntimeError, ImportError) as error:
        raise BadInput(f"--coordinator {coordinator}: the processes did not meet ({error})") from None


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return jax.process_index() == 0


def at_first(work: Callable[[], Any]) -> Any:
    """What `work` returns in the first process, as JSON; the others wait for it. All must call this in the same order.

    Raises in all processes what it raises in the first.
    """
    if jax.process_count() == 1:
        return work()
    place, store = f"mqc/{next(_turns)}", global_state.client
    assert store is not None
    if not is_first():
        told = json.loads(store.blocking_key_value_get(place, HOURS * 3_600_000))
        if "error" in told:
            error = MqcError(told["error"])
            error.exit_code = told["exit_code"]
            raise error
        return told["found"]
    try:
        found = work()
        store.key_value_set(place, json.dumps({"found": found}))
        return found
    except Exception as error:
        code = error.exit_code if isinstance(error, MqcError) else 1
        store.key_value_set(place, json.dumps({"error": f"the first process: {error}", "exit_code": code}))
        raise
