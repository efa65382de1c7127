"""What nobody sends on purpose, and what somebody does."""

import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.serve_fuzz import fuzz
from tests.helpers.bundles import tiny_bundle
from tests.helpers.serving import app_of, client_of, live

from veriscope.bundle import Bundle
from veriscope.serving.settings import Access


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("hostile") / "bundle")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_files_get_answers(bundle: Bundle) -> None:
    """A few; benchmarks/serve_fuzz.py sends 10,000."""
    with client_of(app_of(bundle)) as client:
        found = fuzz(client, num_files=400, seed=1, at_once=4)
    assert found["statuses"] == {200: 100}
    assert set(found["answers"]) >= {"unreadable", "no_picture"}
    assert sum(found["answers"].values()) == 400


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "a-token-of-some-length"])
def test_the_api_keeps_to_its_own_description(bundle: Bundle, token: str | None, tmp_path: Path) -> None:
    """Schemathesis makes requests out of the OpenAPI document, sound and unsound ones, and checks every answer."""
    with live(app_of(bundle, access=Access(token=token))) as server:
        command = [str(Path(sys.executable).with_name("st")), "run", f"{server.url}/openapi.json"]
        command += ["--seed", "1", "--max-examples", "30", "--no-color", "--phases", "examples,coverage,fuzzing"]
        command += [] if token is None else ["--header", f"Authorization: Bearer {token}"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
