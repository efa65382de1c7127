"""A measured process that ends without an answer."""

import os

import pytest

from veriscope.bench.manifest import _measure_worker
from veriscope.errors import DataError


class Deadly:
    """Ends the process that unpickles it, as the kernel does where memory is short."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


@pytest.mark.slow
def test_its_end_is_said_and_not_waited_for() -> None:
    with pytest.raises(DataError, match=r"has ended \(exit code 3\)"):
        _measure_worker("spawn", Deadly())
