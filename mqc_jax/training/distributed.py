"""Several processes that train one model together; every function here is trivial where there is one.

The first of them prints and writes; what it alone does may fail, and then fails in all of them.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import jax
from jax._src.distributed import global_state  # there is no public name for its key-value store

from data_pipeline.errors import BadInput, MqcError, OutOfResources, outcome

PATIENCE = 500  # milliseconds
LOOPBACK = ("127.0.0.1", "localhost")
_turns = count()


def initialize(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Meet the other processes; before anything else is asked of JAX.

    `coordinator` is host:port of the first process, or 'auto' where SLURM, Kubernetes, or a TPU pod says who is who.
    Raises BadInput.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, and a second one in vain
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

    What it raises in the first process ends the others with the same line and exit code.
    """
    if jax.process_count() == 1:
        return work()
    place = f"mqc/{next(_turns)}"
    if not is_first():
        told = json.loads(_wait_for(place))
        if "error" in told:
            error = MqcError(told["error"])
            error.exit_code = told["exit_code"]
            raise error
        return told["found"]
    try:
        found = work()
        _store().key_value_set(place, json.dumps({"found": found}))
        return found
    except Exception as error:
        line, code = outcome(error) or (f"the first process failed: {error}", 1)
        _store().key_value_set(place, json.dumps({"error": line, "exit_code": code}))
        raise


def earliest(name: str, number: int | None) -> float:
    """The least number that a process has given under this name so far; infinity where none has."""
    folder, store = f"mqc/{name}/", _store()
    if number is not None:
        store.key_value_set(f"{folder}{jax.process_index()}", str(number), allow_overwrite=True)
    return min((int(value) for _, value in store.key_value_dir_get(folder)), default=math.inf)


@contextmanager
def together(again: str = "") -> Iterator[None]:
    """End at once where another process is gone: to leave in order is to wait for it. `again` is how to go on."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or outcome(error) is not None:
            raise
        why = str(error).splitlines()[0][:200]
        print(f"error: another process is gone ({why}); start all again{again}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(OutOfResources.exit_code)


def _wait_for(place: str) -> str:
    """What the first process puts there, however long it takes; Ctrl-C is heard meanwhile."""
    while True:
        try:
            return _store().blocking_key_value_get(place, PATIENCE)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


def _store() -> Any:
    """The key-value store of the first process: it can be waited for, which collectives on a CPU cannot, for hours."""
    return global_state.client
