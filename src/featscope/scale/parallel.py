"""Executors: each calls a function on every item and yields the results in the order in which they are ready.

The function and its items are pickled. Items are small and can be repeated, so if a worker dies, only its items must be
done again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Tuple

from featscope.errors import BadOptionError, FeatscopeError, MissingPackageError, unknown_name
from featscope.scale.executor import Executor, Item, Results, Value, serial

EXECUTORS = ("processes", "processes:4", "serial", "dask://HOST:PORT")
"""Examples of names for `executor_named`."""

Tried = Tuple[Item, int]
"""An item, and how often its process died."""

_TRIES = 3
_CONNECT_SECONDS = 10


def executor_named(text: str) -> Executor:
    """Return the executor with this name.

    >>> list(executor_named("serial")(abs, [-1, 2]))
    [(-1, 1), (2, 2)]

    'processes' uses all cores, 'processes:4' four. 'dask://HOST:PORT' uses the workers of a Dask scheduler, which must
    see the same files under the same names and have featscope installed.
    """
    kind, _, rest = text.partition(":")
    if text == "serial":
        return serial
    if kind == "processes" and (not rest or (rest.isdecimal() and int(rest) > 0)):
        return partial(processes, workers=int(rest or os.cpu_count() or 1))
    if kind == "dask" and rest.startswith("//") and rest[2:].rpartition(":")[2].isdecimal():
        return partial(dask, address=f"tcp:{rest}")
    raise unknown_name("executor", text, EXECUTORS, "featscope stats --help")


def processes(function: Callable[[Item], Value], items: Iterable[Item], workers: int) -> Results[Item, Value]:
    """Run items in processes on this machine. A killed process is replaced, and its items are done again.

    They are then done one at a time, so that an item that always kills its process is the only one with an error.
    """
    source = ((item, 0) for item in items)
    suspects: Deque[Tried[Item]] = deque()
    while True:
        running: Dict[Future[Value], Tried[Item]] = {}
        with _pool(workers) as pool:
            try:
                yield from _work(pool, function, source, suspects, running=running, workers=workers)
                return
            except BaseException as stop:
                # If the work is stopped, do not wait for running items. If the pool broke, it ends the processes that
                # it knows, but one that `submit` has just started would wait for work forever, and the pool for it.
                # So kill all processes.
                for process in list((pool._processes or {}).values()):
                    process.kill()
                if not isinstance(stop, BrokenProcessPool):
                    raise
                for item, tries in running.values():
                    if tries + 1 < _TRIES:
                        suspects.append((item, tries + 1))
                    else:
                        yield (
                            item,
                            FeatscopeError(f"its process died {_TRIES} times; check that there is enough memory"),
                        )


def _work(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Value],
    source: Iterator[Tried[Item]],
    suspects: Deque[Tried[Item]],
    *,
    running: Dict[Future[Value], Tried[Item]],
    workers: int,
) -> Results[Item, Value]:
    """Do the suspects one at a time, then the items of the source. Raises `BrokenProcessPool` if a process died.

    running: takes what each process has; it is what is left to do again after an error.
    """
    while True:
        while len(running) < (1 if suspects else 2 * workers):
            following = suspects.popleft() if suspects else next(source, None)
            if following is None:
                break
            try:
                running[pool.submit(function, following[0])] = following
            except (BrokenProcessPool, OSError):  # the pool broke before it took the item
                suspects.append(following)
                raise BrokenProcessPool from None
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise error
            item, _ = running.pop(future)
            yield item, error if isinstance(error, Exception) else future.result()


def _pool(workers: int) -> ProcessPoolExecutor:
    # A server process that has imported everything forks the workers, so they start immediately. A process with threads
    # (such as torch's) is never forked.
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if server else "spawn")
    if server:
        context.set_forkserver_preload(["featscope.render.heat_plan"])
        from multiprocessing import forkserver, resource_tracker  # does not exist on Windows

        with _environment_of_workers():
            resource_tracker.ensure_running()  # first, because starting it unblocks interrupts
            with _without_interrupts():
                forkserver.ensure_running()
    return ProcessPoolExecutor(workers, context, _begin_work)


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Limit BLAS to one thread per worker, because there are as many workers as cores.

    Also hide the warnings that Python gives when it cleans up after the main process was stopped or killed.
    """
    wanted = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    said = os.environ.get("PYTHONWARNINGS")
    wanted["PYTHONWARNINGS"] = ",".join([*([said] if said else []), "ignore:resource_tracker"])
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C even while they import. This process receives it after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_work() -> None:
    # Ctrl-C reaches the whole process group. Only the main process handles it, and the workers end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="featscope-parent", daemon=True).start()


def _end_with_parent() -> None:
    # Workers do not notice that the main process was killed: each holds both ends of the queue and would wait forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def dask(function: Callable[[Item], Value], items: Iterable[Item], address: str) -> Results[Item, Value]:
    """Run items on the workers of a Dask cluster. Its scheduler gives the items of a lost worker to another one."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingPackageError("Dask is not installed here: pip install 'featscope[dask]'") from None
    shown = address.replace("tcp:", "dask:")
    try:
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError, TimeoutError) as error:
        raise BadOptionError(f"no Dask scheduler answers at {shown}: {error}; start one: dask scheduler") from None
    with client:
        threads = sum(client.nthreads().values())  # type: ignore[no-untyped-call, unused-ignore]
        if not threads:
            raise BadOptionError(f"the Dask scheduler at {shown} has no workers; start some: dask worker HOST:PORT")
        source = iter(items)
        running: Dict[Any, Item] = {}
        finished = as_completed(loop=client.loop)  # type: ignore[no-untyped-call, unused-ignore]

        def submit() -> None:
            for item in source:
                future = client.submit(function, item, pure=False)
                running[future] = item
                finished.add(future)  # type: ignore[no-untyped-call, unused-ignore]
                return

        for _ in range(4 * threads):
            submit()
        for future in finished:
            item = running.pop(future)
            failure = future.exception()
            yield item, failure if isinstance(failure, Exception) else future.result()
            submit()
