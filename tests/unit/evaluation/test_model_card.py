import json

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from tests.helpers.bundles import tiny_bundle

from veriscope import cli
from veriscope.data.decode import PictureFacts
from veriscope.evaluation.judge import judge
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.report import ReportFacts, write_report
from veriscope.evaluation.sections import Section


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bundle and the report of an evaluation of it, both by the program's own functions."""
    folder = tmp_path_factory.mktemp("card")
    bundle = tiny_bundle(folder / "bundle")
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    table = PredictionTable.from_columns(
        [f"{row}.png" for row in range(200)],
        labels=labels,
        logits=rng.normal(size=200) + 3 * labels - 1.5,
        calibration=bundle.calibration,
        meta=TableMeta(data_name="Faces | 2"),
        generators=[None if row % 2 == 0 else ("sd" if row % 4 == 1 else "gan") for row in range(200)],
        facts=[PictureFacts("PNG" if row % 3 else "JPEG", 100, 100, 9000) for row in range(200)],
    )
    judgement = judge(table, thresholds=bundle.record.thresholds, draws=100)
    facts = ReportFacts(
        title="t", model_name="m", data_name="Faces | 2", subset="Judged on all of it.", warnings=("Seen before.",),
        data={"part": "test", "content_hash": "abc"}, bundle={"weights_sha256": bundle.weights_sha256},
        provenance={"device": "a CPU", "started": "2026-01-02"},
    )  # fmt: skip
    part = Section("Robustness", "robustness", sentences=("JPEG costs it half.",))
    write_report(
        folder / "judged", judgement=judgement, table=table, pictures={}, tiles=[], facts=facts, sections=[part]
    )
    return folder, bundle, judgement


def test_the_card_is_one_that_hugging_face_reads(place, tmp_path, capsys):
    folder, bundle, judgement = place
    file = tmp_path / "README.md"
    own = (bundle.folder / "MODEL_CARD.md").read_bytes()
    code = cli.main(["card", str(bundle.folder), "--report", str(folder / "judged"), "--output", str(file)])
    assert (code, capsys.readouterr().out.strip()) == (0, str(file))
    assert (bundle.folder / "MODEL_CARD.md").read_bytes() == own
    card = ModelCard.load(file)
    found = {(result.dataset_config, result.metric_type): result for result in card.data.eval_results}
    whole = found[None, "roc_auc"]
    assert whole.metric_value == pytest.approx(judgement.metrics["auroc"], abs=1e-6)
    assert (whole.task_type, whole.dataset_name, whole.dataset_type, whole.dataset_split) == (
        "image-classification", "Faces | 2", "faces-2", "test",
    )  # fmt: skip
    for row in judgement.by_generator:
        expected = row.recall[judgement.headline].value
        assert found[row.generator, "recall"].metric_value == pytest.approx(expected, abs=1e-6)
    text = file.read_text(encoding="utf-8").split("---")[1]
    assert "&id" not in text, "no anchors: people read it"
    header = yaml.safe_load(text)
    assert header["library_name"] == "veriscope"
    assert len(header["model-index"][0]["results"]) == 3


def test_the_card_says_what_was_found_and_what_not_to_trust(place, tmp_path):
    folder, bundle, judgement = place
    file = tmp_path / "card.md"
    cli.main(["card", str(bundle.folder), "--report", str(folder / "judged" / "report.json"), "--output", str(file)])
    text = file.read_text(encoding="utf-8")
    interval = judgement.free["auroc"].interval
    for expected in (
        judgement.verdict()[0],
        "Don't trust these figures.** Seen before.",
        f"{judgement.metrics['auroc']:.3f} ({interval.low:.3f} to {interval.high:.3f})",
        "sd (50 fakes)",
        "by format",
        "JPEG costs it half.",
        "| data hash | abc |",
        "a CPU",
        "## Intended use",
        "## Limits",
        "## Licence of the weights",
    ):
        assert expected in text, expected


def test_a_card_is_never_overwritten_silently(place, capsys):
    folder, bundle, _ = place
    command = ["card", str(bundle.folder), "--report", str(folder / "judged")]
    assert cli.main(command) == 0
    written = folder / "judged" / "MODEL_CARD.md"
    written.write_text("mine")
    assert cli.main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert written.read_text() == "mine"
    assert cli.main([*command, "--output", str(bundle.folder / "MODEL_CARD.md")]) == 2
    assert cli.main([*command, "--overwrite"]) == 0
    assert written.read_text().startswith("---")


def test_reports_of_other_bundles_and_damaged_ones_are_refused(place, tmp_path, capsys):
    folder, bundle, _ = place
    content = json.loads((folder / "judged" / "report.json").read_text())
    for change, words in (
        ({"bundle": {"weights_sha256": "0" * 64}}, "judged another bundle"),
        ({"schema_version": 1}, "version 1"),
        ({"metrics": 3}, "metrics: "),
    ):
        (tmp_path / "report.json").write_text(json.dumps(content | change))
        assert cli.main(["card", str(bundle.folder), "--report", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err
    assert cli.main(["card", str(bundle.folder), "--report", str(tmp_path / "none")]) == 2
    assert "Name a folder that evaluate.py wrote" in capsys.readouterr().err


def test_a_stated_base_rate_stands_beside_the_scores(place, tmp_path):
    folder, bundle, _ = place
    file = folder / "judged" / "report.json"
    content = json.loads(file.read_text())
    assert (content["corruption"], content["base_rate_stated"]) == (None, None)
    for rate, there in ((0.05, True), (None, False)):
        (tmp_path / "report.json").write_text(json.dumps(content | {"base_rate_stated": rate}))
        output = tmp_path / f"{rate}.md"
        assert cli.main(["card", str(bundle.folder), "--report", str(tmp_path), "--output", str(output)]) == 0
        text = output.read_text(encoding="utf-8")
        assert ("corrected to a share of fakes of 0.05" in text) is there
        card = ModelCard.load(output)
        assert ("base rate 0.05" in card.data.eval_results[0].dataset_name) is there


def test_what_a_card_can_not_rest_on_is_refused_in_words(place, tmp_path, capsys):
    folder, bundle, _ = place
    content = json.loads((folder / "judged" / "report.json").read_text())
    figures = content["metrics"] | {"auroc": {"value": float("nan"), "low": None, "high": None}}
    moved = {name: found | {"value": 0.123} for name, found in content["thresholds"].items()}
    for change, words in (
        ({"metrics": figures}, "auroc"),
        ({"headline_threshold": "mine"}, "threshold 'mine' are missing"),
        ({"counts": {"judged": 3}}, "counts.real"),
        ({"sections": {"robustness": {"sentences": 5}}}, "sentences"),
        ({"thresholds": moved}, "another calibration or other thresholds"),
        ({"bundle": content["bundle"] | {"calibration": "score = sigmoid(logit / 7)"}}, "another calibration"),
    ):
        (tmp_path / "report.json").write_text(json.dumps(content | change))
        assert cli.main(["card", str(bundle.folder), "--report", str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1
    command = ["card", str(bundle.folder), "--report", str(folder / "judged"), "--overwrite", "--output"]
    assert cli.main([*command, str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert cli.main([*command, str(tmp_path / "new" / "card.md")]) == 0
