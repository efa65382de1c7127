"""Numbers of the command line: what each option takes, and what it says of the rest."""

import pytest

from veriscope.cli import build_parser


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("predict B P --batch-size 0", "0 is not at least 1"),
        ("predict B P --batch-size 1.5", "'1.5' is no whole number"),
        ("predict B P --workers -1", "-1 is below 0"),
        ("predict B P --base-rate 1", "1 is not between 0 and 1"),
        ("predict B P --frames-per-second 1001", "1001 is not above 0 and at most 1,000"),
        ("predict B P --face-margin nan", "nan is not between 0 and 3"),
        ("compare A B --level 1", "1 is not between 0.5 and 1"),
        ("compare A B --draws 99", "99 is not between 100 and 1,000,000"),
        ("bench step --size-px 31", "31 is not between 32 and 2048"),
        ("export B --max-flips x", "'x' is no number"),
        ("serve B --port 65536", "65536 is not between 0 and 65535"),
        ("serve B --timeout-s inf", "inf is not above 0"),
    ],
)
def test_a_number_out_of_range_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(words.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_ends_of_a_range_are_taken() -> None:
    words = "predict B P --workers 0 --batch-size 1 --frames-per-second 1000 --face-margin 3 --base-rate 0.999"
    found = build_parser().parse_args(words.split())
    assert (found.workers, found.batch_size, found.frames_per_second, found.face_margin) == (0, 1, 1000.0, 3.0)
    assert build_parser().parse_args(["serve", "B", "--port", "0", "--drain-s", "0"]).port == 0
