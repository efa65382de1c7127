"""A bundle's out-of-distribution score: written, read, refused when damaged, absent in old bundles, told."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.helpers.bundles import FACTS, tiny_bundle, write_pictures

from veriscope.bundle import Bundle, Scorer, load_bundle
from veriscope.bundle.ensemble import Part, save_ensemble, why_no_ood
from veriscope.bundle.save import save_bundle
from veriscope.bundle.scorer import Scored
from veriscope.bundle.torch_network import TorchNetwork
from veriscope.cli import main
from veriscope.errors import BundleError
from veriscope.models.ood import Ood, OutOfDistribution, read_ood
from veriscope.models.ood_fit import fit_reference
from veriscope.predict.judge import to_verdict
from veriscope.runs.ensemble import lacks
from veriscope.types import Calibration, Threshold, UnsureBand

THRESHOLD = Threshold(value=0.4, rule="best balanced accuracy", chosen_on="val")


def vectors_of(bundle: Bundle, paths: list[Path]) -> np.ndarray:
    scorer = Scorer(TorchNetwork(bundle.detector(), device="cpu", precision="fp32"), keep_vectors=True)
    return np.stack([scored.vectors[0] for scored in scorer.score_paths(paths)])


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("known"), 120)


@pytest.fixture(scope="module")
def bundle(known: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle whose validation pictures are `known`."""
    folder = tmp_path_factory.mktemp("bundles")
    plain = tiny_bundle(folder / "plain")
    labels = np.arange(len(known)) % 2
    reference = fit_reference(vectors_of(plain, known), labels=labels, method="knn", k=3).reference
    return tiny_bundle(folder / "ood", ood=Ood(OutOfDistribution((reference,)), "knn", 0.99, "generated val"))


def copy(bundle: Bundle, folder: Path) -> Path:
    folder.mkdir()
    for file in bundle.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_it_is_said_in_the_record_and_changes_no_logit(bundle: Bundle, known: list[Path]) -> None:
    facts = load_bundle(bundle.folder).record.ood
    assert facts is not None
    assert (facts.method, facts.threshold, facts.num_pictures, facts.fitted_on) == ("knn", 0.99, 120, "generated val")
    assert bundle.record.format_version == 3
    plain = load_bundle(bundle.folder.parent / "plain")
    one, other = (list(b.scorer(device="cpu", precision="fp32").score_paths(known[:5])) for b in (bundle, plain))
    assert [s.logit for s in one] == [s.logit for s in other]
    assert all(s.ood is not None and s.vectors is None for s in one)
    assert all(s.ood is None for s in other)


def test_batches_threads_and_unreadable_files_leave_each_picture_its_own(
    bundle: Bundle, known: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    new = write_pictures(tmp_path / "new", 7, side=61)
    paths = [new[0], tmp_path / "text.jpg", *new[1:]]
    alone = [s.ood for s in bundle.scorer(device="cpu", precision="fp32", batch_size=1).score_paths(paths)]
    together = bundle.scorer(device="cpu", precision="fp32", batch_size=3, num_workers=2)
    assert [s.ood for s in together.score_paths(paths)] == pytest.approx(alone, abs=2 / 121)
    assert alone[1] is None
    expected = bundle.ood().score([vectors_of(bundle, new)])
    assert [value for value in alone if value is not None] == pytest.approx(expected.tolist(), abs=2 / 121)


def test_old_bundles_load_and_have_none(tmp_path: Path) -> None:
    old = tiny_bundle(tmp_path / "old")
    assert old.record.format_version == 1
    assert "ood" not in json.loads((tmp_path / "old" / "bundle.json").read_text())
    assert not (tmp_path / "old" / "ood.safetensors").exists()
    assert load_bundle(tmp_path / "old").ood() is None
    assert old.strange_from is None


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_file_is_refused_in_words(bundle: Bundle, damage: str, tmp_path: Path) -> None:
    folder = copy(bundle, tmp_path / "copy")
    file = folder / "ood.safetensors"
    file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"ood\.safetensors' is missing or damaged; copy the whole folder again"):
        load_bundle(folder).scorer(device="cpu")


def test_an_ensemble_asks_each_member(bundle: Bundle, known: list[Path], tmp_path: Path) -> None:
    torch.manual_seed(1)
    plain = load_bundle(bundle.folder.parent / "plain")
    network = plain.detector()
    for value in network.parameters():
        value.data.mul_(1.3)
    labels = np.arange(len(known)) % 2
    other_plain = save_bundle(
        tmp_path / "other", detector=network, calibration=Calibration(), thresholds={}, training=FACTS
    )
    reference = fit_reference(vectors_of(other_plain, known), labels=labels, method="knn", k=3).reference
    other = save_bundle(
        tmp_path / "other",
        detector=network,
        calibration=Calibration(),
        thresholds={},
        training=FACTS,
        ood=Ood(OutOfDistribution((reference,)), "knn", 0.99, "generated val"),
        overwrite=True,
    )

    def parts(*bundles: Bundle) -> list[Part]:
        return [Part(f"fold {n}", one, 1.0) for n, one in enumerate(bundles)]

    def ensemble(name: str, *bundles: Bundle) -> Bundle:
        return save_ensemble(
            tmp_path / name,
            parts(*bundles),
            calibration=Calibration(),
            thresholds={},
            training=FACTS,
            out_of_fold={},
        )

    both = ensemble("both", bundle, other)
    new = write_pictures(tmp_path / "new", 6, side=61)
    one, two, mean = (
        [s.ood for s in b.scorer(device="cpu", precision="fp32").score_paths(new)] for b in (bundle, other, both)
    )
    assert mean == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)], abs=1e-9)
    assert both.record.ood is not None
    assert both.record.ood.fitted_on == "generated val, of each member its own"
    assert ensemble("half", bundle, plain).record.ood is None, "a member that can't tell makes an ensemble that can't"
    assert why_no_ood(parts(bundle, other)) == ""
    assert why_no_ood(parts(bundle, plain)) == "1 of its 2 members has none (fold 1)"
    assert other.record.ood is not None
    loose = other.record.ood.model_copy(update={"threshold": 0.9})
    unlike = replace(other, record=other.record.model_copy(update={"ood": loose}))
    assert why_no_ood(parts(bundle, unlike)) == "its members' are unlike: fold 0 knn from 0.99, fold 1 knn from 0.9"
    assert lacks(parts(bundle, other), no_band="") == []
    assert lacks(parts(bundle, plain), no_band="none was asked for") == [
        "no unsure band: none was asked for",
        "no out-of-distribution score: 1 of its 2 members has none (fold 1)",
    ]


def test_what_is_strange_reads_unsure_with_its_reason() -> None:
    fake = Scored(Path("x.png"), 3.0, 0.95, ood=0.99)
    verdict = to_verdict(fake, threshold=THRESHOLD, strange_from=0.99)
    assert (verdict.label, verdict.score, verdict.ood) == ("unsure", 0.95, 0.99)
    assert verdict.unsure_because == (
        "unlike anything it was trained with (stranger than 99 % of its validation pictures)"
    )
    assert to_verdict(fake, threshold=THRESHOLD).label == "fake"
    assert to_verdict(fake, threshold=THRESHOLD, strange_from=0.995).label == "fake"
    assert to_verdict(Scored(Path("x.png"), 3.0, 0.95), threshold=THRESHOLD, strange_from=0.9).label == "fake"
    band = UnsureBand(
        low=0.3, high=0.97, threshold="val", wanted_accuracy=0.9, coverage=0.5, accuracy=0.9, num_pictures=99,
        chosen_on="val",
    )  # fmt: skip
    both = to_verdict(fake, threshold=THRESHOLD, strange_from=0.99, band=band)
    assert both.unsure_because is not None
    assert both.unsure_because.endswith("; the score is in the unsure band")


def test_predict_says_so(bundle: Bundle, known: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for index, path in enumerate(write_pictures(tmp_path / "new", 2, side=200)):
        path.rename(tmp_path / "in" / f"{index}.png")

    def run(*words: str) -> list[dict[str, str]]:
        out = tmp_path / "out.csv"
        out.unlink(missing_ok=True)
        words = ("predict", str(bundle.folder), str(tmp_path / "in"), "--device", "cpu", "--output", str(out), *words)
        assert main(list(words)) == 0
        return list(csv.DictReader(io.StringIO(out.read_text())))

    strictest = run("--ood-threshold", "0.51")
    assert "stranger to it than 51 % of generated val" in capsys.readouterr().err.replace("\n", " ")
    for row in strictest:
        strange = float(row["ood"]) >= 0.51
        assert ("unlike anything it was trained with" in row["unsure_because"]) == strange
        assert (row["verdict"] == "unsure") == strange
    assert any(row["verdict"] == "unsure" for row in strictest), "pictures of another size are strange to it"
    for words in (("--ood-threshold", "1"), ("--ood-threshold", "0.51", "--no-unsure")):
        assert all(row["verdict"] != "unsure" for row in run(*words))
    plain = bundle.folder.parent / "plain"
    assert main(["predict", str(plain), str(tmp_path / "in"), "--ood-threshold", "0.9"]) == 2
    assert "has no out-of-distribution score" in capsys.readouterr().err.replace("\n", " ")
    assert (
        main(["predict", str(plain), str(tmp_path / "in"), "--device", "cpu", "--output", str(tmp_path / "p.csv")]) == 0
    )
    assert "can't tell what it has never seen" in capsys.readouterr().err.replace("\n", " ")
    assert main(["predict", str(bundle.folder), str(tmp_path / "in"), "--ood-threshold", "0.3"]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"0.bank": np.full((3, 4), np.nan, np.float16)}, "what is no number"),
        ({"0.k": np.array([7])}, "no 7 neighbours"),
        ({"0.distances": np.array([0.3, 0.1])}, "don't rise"),
        ({"0.distances": np.empty(0)}, "don't rise"),
        ({"x.bank": np.zeros(3)}, "invalid literal"),
    ],
)
def test_a_reference_that_would_call_everything_strange_is_refused(
    tmp_path: Path, change: dict[str, np.ndarray], words: str
) -> None:
    # Comparing with NaN puts a picture last: without a word all would be unsure.
    own = {"0.bank": np.ones((3, 4), np.float16), "0.k": np.array([1]), "0.distances": np.array([0.1, 0.2, 0.3])}
    save_file(own, tmp_path / "ood.safetensors")
    assert read_ood(tmp_path / "ood.safetensors").num_pictures == 3
    save_file(own | change, tmp_path / "ood.safetensors")
    with pytest.raises(BundleError, match=words):
        read_ood(tmp_path / "ood.safetensors")
