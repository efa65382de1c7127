"""The words of an audit."""

import pytest

from veriscope.audit.check import Check, status_of, worst


@pytest.mark.parametrize(("value", "status"), [(0.69, "pass"), (0.7, "warn"), (0.89, "warn"), (0.9, "stop")])
def test_status_turns_at_its_figures(value: float, status: str) -> None:
    assert status_of(value, warn_at=0.7, stop_at=0.9) == status


def test_status_without_figures_never_turns() -> None:
    assert status_of(1e9, warn_at=None, stop_at=None) == "pass"


def test_the_worst_check_decides() -> None:
    warn, stop = (Check(name="a", status=status, text="t") for status in ("warn", "stop"))
    assert [worst([]), worst([warn]), worst([warn, stop, warn])] == ["pass", "warn", "stop"]
