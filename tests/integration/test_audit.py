"""The audit before training: once a run, in its bundle, and a stop refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.runs import Train

from veriscope.bundle import load_bundle
from veriscope.config.schema import RunConfig
from veriscope.errors import DataError
from veriscope.training.start import prepare

CHEAP = "audit.before_training=cheap"
WARN = "audit.on_stop=warn"


def test_a_stop_refuses_before_anything_is_made(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"says stop: Byte size alone tells fake from real"):
        prepare(tiny_config(CHEAP))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_bundle_and_card_say_what_the_audit_came_to(train: Train) -> None:
    folder = train(CHEAP, WARN, "trainer.max_epochs=1")
    facts = load_bundle(folder.bundle).record.audit
    assert facts is not None
    assert (facts.status, facts.depth, facts.checks["shortcuts.container"]) == ("stop", "headers", "stop")
    card = (folder.bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"hash {facts.audit_hash}" in card
    plain = json.loads((folder.bundle / "bundle.json").read_text(encoding="utf-8"))
    del plain["audit"]  # as bundles from before have it
    (folder.bundle / "bundle.json").write_text(json.dumps(plain))
    assert load_bundle(folder.bundle).record.audit is None
