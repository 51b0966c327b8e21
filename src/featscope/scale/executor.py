"""What an executor is, the one that uses no other process, and work that is handed out some items at a time."""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, List, Protocol, Tuple, TypeVar, Union

Item = TypeVar("Item")
Value = TypeVar("Value")
Results = Iterator[Tuple[Item, Union[Value, Exception]]]
"""Each item with the function's value, or with the error that the function raised."""


class Executor(Protocol):
    """Calls a function on every item, in any order and in any process. `featscope.scale.parallel` has more of them."""

    def __call__(self, function: Callable[[Item], Value], items: Iterable[Item]) -> Results[Item, Value]:
        """Each item with the function's value, or with the error that the function raised."""


def serial(function: Callable[[Item], Value], items: Iterable[Item]) -> Results[Item, Value]:
    """The executor that uses no other process.

    >>> list(serial(abs, [-1, 2]))
    [(-1, 1), (2, 2)]
    """
    for item in items:
        try:
            value = function(item)
        except Exception as error:  # noqa: BLE001 (as from another process: the other items are not to blame)
            yield item, error
        else:
            yield item, value


def run_in_chunks(
    executor: Executor, function: Callable[[List[Item]], Value], items: Iterable[Item], size: int
) -> Results[List[Item], Value]:
    """Call a function on lists of at most `size` items. The items of a list that fails are tried again one by one.

    >>> list(run_in_chunks(serial, sum, [1, 2, 3], 2))
    [([1, 2], 3), ([3], 3)]
    """
    apart: List[Item] = []
    for chunk, value in executor(function, _chunks(items, size)):
        if isinstance(value, Exception) and len(chunk) > 1:
            apart += chunk
        else:
            yield chunk, value
    if apart:
        yield from executor(function, _chunks(apart, 1))


def _chunks(items: Iterable[Item], size: int) -> Iterator[List[Item]]:
    chunk: List[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
