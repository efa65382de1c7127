"""MODEL_CARD.md, made from the record alone (Mitchell et al. 2019), with the YAML header that Hugging Face reads."""

from collections.abc import Mapping

import yaml

from veriscope.bundle.record import AuditFacts, BundleRecord, OodFacts
from veriscope.progress import duration
from veriscope.types import CLASS_MAP_TEXT, UnsureBand

LIMITS = """\
- A score is a statement about pictures like those of the training data. Generators, cameras and editing that the model
  has not seen can bring its accuracy down to chance, and the score doesn't show that. `ood`, where the bundle has it,
  calls pictures unsure that are unlike those of validation; it finds other data and heavy damage, but a picture that
  isn't strange to it can still get a wrong verdict.
- Re-compression, resizing, screenshots and social networks remove the traces that it reads. `evaluate.py
  robustness=full` measures how much that costs; judge it on pictures with the history of yours before relying on it.
- The score is a probability only where real and fake pictures come in the proportion of the calibration data. Where
  fakes are rarer or more frequent, state it (`--base-rate`), if the table below names the share it is corrected from.
- Its errors may be distributed unevenly over skin tones, ages and kinds of scenes; the figures below don't show that.
- It is no proof. Don't decide about a person by it alone."""


ON_VAL = """\
These data also chose the checkpoint, the temperature and the threshold, so the figures lean to the bright side; only
`evaluate.py` on data that the model has never seen judges it."""
OUT_OF_FOLD = """\
None of them is the average's own, for every training picture was learned by some of its members. Each picture was
judged by the one member that had not learned it, at the threshold 0.5; the same pictures chose that member's best
epoch, which makes the figures a little too good. The average is usually better than its members; only `evaluate.py` on
data that no member has seen judges it."""

FITTED_OUT_OF_FOLD = """\
Temperature and threshold were fitted to the out-of-fold predictions of single members, one member a picture, and not to
the average. The average is usually better than they suppose, and its scores rather too cautious than too sure
(Rahaman & Thiery 2021)."""


NOT_EVALUATED = "None yet: `veriscope card THIS_FOLDER --report EVALUATION_FOLDER` writes a card that holds them."


def model_card(record: BundleRecord, *, header: Mapping[str, object] | None = None, evaluation: str = "") -> str:
    """Return the card as Markdown; `header` adds to the YAML, `evaluation` is what judging it on other data gave."""
    kind = "" if record.ensemble is None else f", the average of {record.num_members} models"
    parts = [
        f"---\n{yaml.safe_dump({**_header(record), **(header or {})}, sort_keys=False, allow_unicode=True)}---",
        f"# {record.model.name}{kind}, trained on {record.training.data_name}",
        *(f"> **{notice}**" for notice in record.notices),
        "## Intended use\n\nTells real photographs from AI-generated or manipulated ones, one picture at a time: "
        f"{CLASS_MAP_TEXT}. Made for research, triage and the study of detectors.\n\n"
        "    veriscope predict THIS_FOLDER PICTURE_OR_FOLDER...",
        "## Limits\n\n" + _limits(record),
        "## Model\n\n" + markdown_table(_model_rows(record)),
        "## Training data and protocol\n\n" + markdown_table(_training_rows(record)),
        "## Evaluation on other data\n\n" + (evaluation or NOT_EVALUATED),
        _figures(record),
        "## From logit to verdict\n\n"
        + ("" if record.ensemble is None else FITTED_OUT_OF_FOLD + "\n\n")
        + markdown_table(_verdict_rows(record)),
        "## Licence of the weights\n\nTraining "
        + record.initial_weights
        + ". The trained weights carry the conditions of "
        "those and of the training data; veriscope's own code is MIT.",
    ]
    return "\n\n".join(parts) + "\n"


def _limits(record: BundleRecord) -> str:
    left_out = record.model.input.leaves_out
    return f"{LIMITS}\n- {left_out}" if left_out else LIMITS


def _header(record: BundleRecord) -> dict[str, object]:
    return {
        "license": "other",
        "library_name": "veriscope",
        "pipeline_tag": "image-classification",
        "tags": ["deepfake-detection", "ai-generated-image-detection", record.model.backbone.name],
        "datasets": [record.training.data_name],
        "metrics": list(record.training.val if record.ensemble is None else record.ensemble.out_of_fold),
    }


def _figures(record: BundleRecord) -> str:
    if record.ensemble is None:
        title, text, figures = "Figures on the validation data", ON_VAL, record.training.val
    else:
        title, text, figures = "Figures of its members, out of fold", OUT_OF_FOLD, record.ensemble.out_of_fold
    rows = {name: "undefined" if value is None else f"{value:.4f}" for name, value in figures.items()}
    return f"## {title}\n\n{text}\n\n{markdown_table(rows)}"


def _model_rows(record: BundleRecord) -> dict[str, str]:
    model = record.model
    tap = f", at {', '.join(tap or 'the last layer' for tap in model.head.taps)}" if model.head.tap else ""
    options = ", ".join(f"{key}={value}" for key, value in model.head.options.items())
    return {
        "backbone": f"{model.backbone.name}; trained: {_words(model.backbone.trainable)}",
        "head": f"{model.head.name}{tap}" + (f" ({options})" if options else ""),
        "parameters": f"{record.num_parameters:,}",
        "input": f"RGB, {model.input.size_px} x {model.input.size_px} px, {model.input.fit}, "
        f"mean {_words(model.input.mean)}, std {_words(model.input.std)}",
        "flip average": "yes" if model.flip_average else "no",
        "weights (SHA-256)": record.weights_sha256,
    } | _member_rows(record)


def _member_rows(record: BundleRecord) -> dict[str, str]:
    if record.ensemble is None:
        return {}
    rows = {
        "members": f"{record.num_members} networks of the same make. A verdict costs {record.num_members} times the "
        "computing and the memory of one."
    }
    for member in record.ensemble.members:
        rows[f"member '{member.name}'"] = (
            f"temperature {member.temperature:.4g}; weights of its own bundle (SHA-256): {member.weights_sha256}"
        )
    return rows


def _training_rows(record: BundleRecord) -> dict[str, str]:
    facts = record.training
    return {
        "data": facts.data_name,
        "data hash": facts.data_hash,
        "images": f"{facts.num_train:,} train, {facts.num_val:,} val"
        if record.ensemble is None
        else f"{facts.num_train:,}, each learned by {record.num_members - 1} of {record.num_members} members",
        "split": _split(facts.split) or "the data set's own",
        "audit of the data": _audit(record.audit),
        "epochs": str(facts.epochs) + ("" if record.ensemble is None else " of all members together"),
        "seed": str(facts.seed),
        "device": facts.device,
        "finished": facts.date,
        "time": "not known" if facts.seconds is None else f"{duration(facts.seconds)} of training",
        "source": f"veriscope {record.veriscope_version}, commit {facts.commit or 'unknown'}",
    }


def _audit(audit: AuditFacts | None) -> str:
    if audit is None:
        return "none"
    looked = "every picture" if audit.depth == "pixels" else "names, headers and file hashes"
    told = ", ".join(f"{name} {status}" for name, status in audit.checks.items()) or "every check passed"
    return f"{audit.status} ({looked}; {told}); hash {audit.audit_hash}"


def _split(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items() if value is not None)


def _verdict_rows(record: BundleRecord) -> dict[str, str]:
    rows = {
        "score": f"{record.calibration.formula}, {record.calibration.method} fitted on: {record.calibration.fitted_on}"
    }
    if record.calibration.fake_share is not None:
        rows["share of fakes there"] = f"{record.calibration.fake_share:.4g}"
    elif record.calibration.fitted_on != "none":
        rows["share of fakes there"] = "not kept: scores can't be corrected to a base rate"
    if record.ensemble is not None:
        rows = {"logit": "mean over the members of their logit / temperature"} | rows
    for name, threshold in record.thresholds.items():
        rows[f"threshold '{name}'"] = f"{threshold.value:.4g} ({threshold.rule}; chosen on: {threshold.chosen_on})"
    rows["unsure by its score"] = "never" if record.unsure is None else _band(record.unsure)
    rows["unsure as strange"] = "never: it can't tell what is strange" if record.ood is None else _strange(record.ood)
    return rows


def _strange(ood: OodFacts) -> str:
    if ood.threshold >= 1:
        return f"never (ood.threshold=1): {ood.method}, fitted on {ood.fitted_on}, {ood.num_pictures:,} pictures"
    return (
        f"from an ood of {ood.threshold:.4g} on: {ood.method}, fitted on {ood.fitted_on}, {ood.num_pictures:,} pictures"
    )


def _band(band: UnsureBand) -> str:
    if band.low == band.high:
        return f"never: {100 * band.accuracy:.1f} % of the verdicts on {band.chosen_on} are right as they are"
    return (
        f"scores from {band.low:.4g} to {band.high:.4g} (around threshold '{band.threshold}'; chosen on: "
        f"{band.chosen_on}, where {100 - 100 * band.coverage:.1f} % are unsure and {100 * band.accuracy:.1f} % of the "
        "others right)"
    )


def _words(values: object) -> str:
    return ", ".join(str(value) for value in values) if isinstance(values, tuple) else str(values)


def markdown_table(rows: Mapping[str, str]) -> str:
    """Return names and texts as a Markdown table of two columns."""
    if not rows:
        return "None recorded."
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", chr(92) + "|")
