"""How far scores and verdicts can be relied on: calibration before and after, unsure verdicts, base rate, oracle.

Everything here stands beside a Judgement: `reliance` computes it, `to_dict` goes into figures.json and report.json,
`paragraphs` into the report and onto the terminal.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from veriscope.bundle.terms import Terms
from veriscope.evaluation.base_rate import RateFigures, expected_at
from veriscope.evaluation.calibration import raw_scores
from veriscope.evaluation.judge import Judgement
from veriscope.evaluation.metrics import UNDEFINED, Scores, probability_metrics
from veriscope.evaluation.ood import OodFigures, measure_ood
from veriscope.evaluation.oracle import ORACLE_NAME, Oracle, oracle_figures
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.unsure import BandFigures, measure_band, share_text
from veriscope.types import Calibration

_PROBABILITY = (("ece", "calibration error"), ("brier", "Brier score"), ("log_loss", "log loss"))


class Paragraph(NamedTuple):
    """A title and its sentences. `apart`: to be shown away from the figures that can be attained."""

    title: str
    sentences: tuple[str, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Reliance:
    """What a Judgement doesn't hold. `uncalibrated`: log_loss, brier and ece of sigmoid(logit), `calibrated` of the
    scores. `band` is None where the bundle has none, `no_band` then the reason if it is known. `at_base_rate` goes by
    threshold name; empty without a stated base rate."""

    calibration: Calibration
    uncalibrated: Scores
    calibrated: Scores
    band: BandFigures | None
    no_band: str
    at_base_rate: dict[str, RateFigures]
    headline: str
    oracle: tuple[Oracle, ...]
    strange: OodFigures | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict; undefined figures are null."""
        return {
            "calibration": self.calibration.model_dump(mode="json"),
            "uncalibrated": {key: {"value": self.uncalibrated[key]} for key, _ in _PROBABILITY},
            "unsure": {"band": None, "reason": self.no_band} if self.band is None else self.band.to_dict(),
            "base_rate": None
            if not self.at_base_rate
            else {
                "stated": self.calibration.base_rate,
                "of_calibration_data": self.calibration.fake_share,
                "thresholds": {name: found.to_dict() for name, found in self.at_base_rate.items()},
            },
            "ood": None if self.strange is None else self.strange.to_dict(),
            "oracle": {
                "note": ORACLE_NAME,
                **{
                    oracle.what.replace(" ", "_"): {"value": oracle.value, "threshold": oracle.threshold}
                    for oracle in self.oracle
                },
            },
        }

    def paragraphs(self) -> list[Paragraph]:
        """Return what a reader should know, the oracle last."""
        found = [Paragraph("Unsure verdicts", tuple(self._unsure()))]
        found.append(Paragraph("What it has never seen", tuple(self._strange())))
        if self.at_base_rate:
            found.append(Paragraph("At the stated base rate", tuple(self._base_rate())))
        found.append(Paragraph("Calibration", tuple(self._calibration())))
        if self.oracle:
            best = "; ".join(f"{one.what} {one.value:.3f} at {one.threshold:.4g}" for one in self.oracle)
            found.append(Paragraph(ORACLE_NAME, (f"The best that any threshold could do here: {best}.",), apart=True))
        return found

    def _unsure(self) -> list[str]:
        if self.band is not None:
            return self.band.sentences()
        return ["Every verdict is real or fake: " + (self.no_band or "this bundle has no band of unsure scores") + "."]

    def _strange(self) -> list[str]:
        if self.strange is not None:
            return self.strange.sentences()
        return ["It can't tell: there is no out-of-distribution score, so nothing reads 'unsure' for being strange."]

    def _base_rate(self) -> list[str]:
        rate, own = self.calibration.base_rate, self.calibration.fake_share
        if rate is None or own is None:
            return []
        found = self.at_base_rate[self.headline]
        return [
            f"Scores are corrected to a share of fakes of {rate:.4g}, stated by whoever asked; of the pictures that "
            f"calibrated them {own:.4g} were fakes. The correction takes fakes and real pictures to look as they did. "
            "Rankings stay as they are, and so do verdicts at a threshold that was chosen on data: its number moved "
            "with the scores.",
            f"At the threshold '{self.headline}' {share_text(found.precision)} of 'fake' verdicts would be right "
            f"there, {share_text(found.real_right)} of 'real'; {share_text(found.called_fake)} of all pictures would "
            "be called fake. Log loss, Brier score and calibration error are weighted to the stated share; the other "
            "figures are those of the judged pictures as they are.",
        ]

    def _calibration(self) -> list[str]:
        changes = ", ".join(
            f"{name} {_text(self.calibrated[key])} (before: {_text(self.uncalibrated[key])})"
            for key, name in _PROBABILITY
        )
        return [f"score = {self.calibration.formula}, fitted on {self.calibration.fitted_on}: {changes}."]


def reliance(
    table: PredictionTable,
    judgement: Judgement,
    *,
    terms: Terms,
    no_band: str = "",
    strange_from: float | None = None,
) -> Reliance:
    """Return how far the scores and verdicts of `table`, judged as `judgement`, can be relied on.

    Args:
        table: scored with `terms.calibration`.
        judgement: of it, at `terms.thresholds`.
        terms: the bundle's, at the table's base rate.
        no_band: why there is no band, where it is known.
        strange_from: the `ood` from which the bundle calls a picture strange; None: it can't tell.

    """
    labels, scores, rate = table.labels, table.scores, terms.calibration.base_rate
    band = terms.unsure
    return Reliance(
        calibration=terms.calibration,
        uncalibrated=probability_metrics(labels, raw_scores(table.logits), base_rate=rate),
        calibrated=probability_metrics(labels, scores, base_rate=rate),
        band=None
        if band is None or len(labels) == 0
        else measure_band(labels, scores, band=band, threshold=terms.thresholds[band.threshold]),
        no_band=no_band,
        at_base_rate={} if rate is None else expected_at(rate, judgement.confusion),
        headline=judgement.headline,
        oracle=oracle_figures(labels, scores),
        strange=None
        if strange_from is None
        else measure_ood(table, strange_from=strange_from, threshold=judgement.thresholds[judgement.headline]),
    )


def _text(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4f}"
