"""Work ahead of its reader: in order, and never further ahead than allowed."""

from collections.abc import Iterator

import pytest

from veriscope.threads import map_ahead


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_results_come_in_order(num_workers: int) -> None:
    assert list(map_ahead(lambda x: x * x, range(50), num_workers=num_workers, num_ahead=7)) == [
        x * x for x in range(50)
    ]
    assert list(map_ahead(str, [], num_workers=num_workers, num_ahead=1)) == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_endless_source_is_read_no_further_than_asked(num_workers: int) -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    answers = map_ahead(lambda x: -x, source(), num_workers=num_workers, num_ahead=5)
    assert [next(answers) for _ in range(3)] == [-1, -2, -3]
    assert taken <= 3 + 5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_comes_in_its_place(num_workers: int) -> None:
    answers = map_ahead(lambda x: 1 / x, [2, 1, 0, 4], num_workers=num_workers, num_ahead=4)
    assert [next(answers), next(answers)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(answers)
