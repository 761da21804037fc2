"""Work spread over the machines of a Ray cluster: the one door to Ray.

What runs where, and what becomes of the work of a machine that dies, is Ray's business.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from simsearch.errors import MissingPackageError, SettingsError

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 4  # of one process, where nobody says how many: more of them gain less each
_AHEAD = 2  # items that are under way or done before their turn, for each that is computed


class Cluster:
    """A cluster that this process is connected to: see ``connected``."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    @property
    def gpus(self) -> int:
        """How many GPUs its machines have."""
        return int(self._ray.cluster_resources().get("GPU", 0))

    def threads(self, wanted: int | None) -> int:
        """How many threads each process shall have: as many as ``wanted``, or as suits.

        Raises SettingsError if no machine has so many CPUs.
        """
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus = [int(resources.get("CPU", 0)) for resources in alive]
        least = wanted or 1
        if max(cpus, default=0) < least:
            raise SettingsError(
                f"a process is to have {least} threads, and the largest machine of the Ray cluster "
                f"has {max(cpus, default=0)} CPUs; give less threads, or add machines"
            )
        return wanted or min(_MOST_THREADS, *(count for count in cpus if count))

    def ordered_map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        threads: int,
        gpu: bool = False,
    ) -> Generator[Result]:
        """What ``function``, of a module that all machines have, makes of each item, in order.

        Each call has a process with ``threads`` CPUs to itself, and a GPU with ``gpu``; processes
        are used again for later calls. Items are taken while they are few enough under way, so
        neither they nor the results pile up. What a process or a machine that died has not
        finished is computed anew on another one; machines that join get work. What ``function``
        raises is raised here.
        """
        options = {"num_cpus": threads, "num_gpus": int(gpu), "max_retries": -1, "max_calls": 0}
        call = self._ray.remote(**options)(_called).remote
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(call(function, item))
                while len(waiting) >= self._most_waiting(threads, gpu):
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for reference in waiting:
                self._ray.cancel(reference, force=True)

    def _most_waiting(self, threads: int, gpu: bool) -> int:
        at_once = self.gpus if gpu else self._ray.cluster_resources().get("CPU", 0) // threads
        return _AHEAD * max(1, int(at_once))

    def _result(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause or error from None


def _called(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


@contextmanager
def connected(address: str | None = None) -> Iterator[Cluster]:
    """A cluster: the one at ``address`` ("host:port"), or that Ray finds by itself.

    Without an address that is the one of $RAY_ADDRESS, one that runs on this machine, or else a new
    one of this machine alone, which ends with the block. Raises MissingPackageError without Ray,
    and SettingsError if nothing can be reached.
    """
    where = check_cluster(address)
    import ray

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address=where, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreachable(where, error) from None
    try:
        yield Cluster(ray)
    finally:
        if ours:
            ray.shutdown()


def check_cluster(address: str | None = None) -> str | None:
    """Raise what ``connected`` does, as far as it can be told without connecting: quickly.

    Returns the address that was given or that $RAY_ADDRESS has, if any.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise MissingPackageError(
            "engine ray needs the package ray; install it: pip install 'simsearch[ray]'"
        ) from None
    where = address or os.environ.get("RAY_ADDRESS")
    host, _, port = (where or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host and not ray.is_initialized():
        try:  # Ray itself would wait for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except OSError as error:
            raise _unreachable(where, error) from None
    return where


def _unreachable(where: str | None, error: Exception) -> SettingsError:
    return SettingsError(f"cannot work on the Ray cluster at {where or 'this machine'}: {error}")
