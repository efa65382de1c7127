"""What the program tells people to type can be typed."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from veriscope.config.command import override


@pytest.mark.parametrize("text", ["runs/a/bundle", "a b,c=(d)", "it's", "$HOME/[x]", "ünï", 'say "x"', "a\\b"])
def test_hydra_reads_back_what_was_meant_after_the_shell(text: str) -> None:
    words = shlex.split(override("bundle", Path(text)))
    assert len(words) == 1
    parsed = OverridesParser.create().parse_override(words[0])
    assert parsed.key_or_group == "bundle"
    assert str(parsed.value()) == text
