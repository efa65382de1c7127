"""Work that threads do ahead of whoever reads it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_workers: int, num_ahead: int
) -> Iterator[Result]:
    """Yield function(item) for each item, in order; `num_workers` threads are at most `num_ahead` items ahead.

    0 workers: each is done when it is asked for.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="ahead")
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= num_ahead:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:  # also when the caller stops reading, or on Ctrl-C
        pool.shutdown(wait=False, cancel_futures=True)
