"""Who does the work: this process, several, or a Ray cluster. The results are the same, and in the same order."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeVar

from data_pipeline.errors import BadInput, MqcError, OutOfResources

Item = TypeVar("Item")
Result = TypeVar("Result")
Engine = Literal["local", "ray"]
HELD_AT_ONCE = 16


class Mapper(Protocol):
    """Apply a function to items; results come in the order of the items."""

    def __call__(self, function: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]: ...


def here(function: Callable[[Item], Result], items: Sequence[Item], /) -> Iterable[Result]:
    """The mapper that does the work itself."""
    return map(function, items)


def merged(merge: Callable[[Sequence[Result]], Result], results: Iterable[Result]) -> Result:
    """All results, at least one, added up by `merge`, few of them in memory at a time."""
    held: list[Result] = []
    for result in results:
        held.append(result)
        if len(held) == HELD_AT_ONCE:
            held = [merge(held)]
    return merge(held)


@contextmanager
def start(engine: Engine, workers: int) -> Iterator[Mapper]:
    """A mapper over `workers` processes of this machine, or over the Ray cluster this process belongs to.

    Functions and items must be such as can be sent to another process. Raises BadInput when Ray is not installed,
    OutOfResources when the system kills a worker.
    """
    if engine == "ray":
        yield _ray_data(workers)
    elif workers == 1:
        yield here
    else:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the threads of whoever imported JAX
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_serve_parent)
        try:
            yield pool.map
        except BrokenProcessPool:
            raise OutOfResources("a worker process was killed, likely for want of memory; try --workers 1") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _serve_parent() -> None:
    """Leave Ctrl-C to the parent, and do not outlive one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _ray_data(workers: int) -> Mapper:
    try:
        import ray
        import ray.data
    except ImportError:
        raise BadInput("--engine ray needs Ray; install it with pip install 'mqc-jax[ray]'") from None
    for name in ("ray", "ray.data"):  # each has handlers of its own
        logging.getLogger(name).setLevel(logging.ERROR)
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        try:
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
        except ValueError:  # there is a cluster, with a number of processors of its own
            ray.init(**quiet)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False

    def mapper(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        def call(row: dict[str, Any]) -> dict[str, Any]:
            try:
                return {"index": row["item"], "result": function(items[row["item"]])}
            except MqcError as error:
                return {"index": row["item"], "result": error}

        rows = ray.data.from_items(list(range(len(items)))).map(call).take_all()
        for row in sorted(rows, key=lambda row: row["index"]):
            if isinstance(row["result"], MqcError):
                raise row["result"]
            yield row["result"]

    return mapper
