"""How far scores and verdicts can be relied on: calibration before and after, unsure verdicts, base rate, oracle.

Everything here stands beside a Judgement: `reliance` computes it, `to_dict` goes into figures.json and report.json,
`paragraphs` into the report and onto the terminal.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

from veriscope.bundle.terms import Terms
from veriscope.evaluation.base_rate import RateFigures, expected_at, group_rates
from veriscope.evaluation.calibration import ByChance, calibration_error_by_chance, raw_scores
from veriscope.evaluation.intervals import Codes, group_codes
from veriscope.evaluation.judge import Judgement
from veriscope.evaluation.metrics import UNDEFINED, Scores, probability_metrics
from veriscope.evaluation.ood import OodFigures, measure_ood
from veriscope.evaluation.oracle import ORACLE_NAME, Oracle, oracle_figures
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.shipped import ShippedFigures, measure_shipped
from veriscope.evaluation.unsure import BandFigures, measure_band, share_text
from veriscope.types import Calibration

_PROBABILITY = (("ece", "calibration error"), ("brier", "Brier score"), ("log_loss", "log loss"))


class _Drawn(TypedDict):
    draws: int
    seed: int


class Paragraph(NamedTuple):
    """A title and its sentences. `apart`: to be shown away from the figures that can be attained."""

    title: str
    sentences: tuple[str, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Reliance:
    """What a Judgement doesn't hold. `uncalibrated`: log_loss, brier and ece of sigmoid(logit), corrected to the
    base rate as the scores are, `calibrated` of the scores; `by_chance` stands beside the ece where pictures are
    independent and as frequent as they come. `band` is None where there is none, `no_band` then the
    reason if it is known. `at_base_rate` goes by threshold name; empty without a stated base rate. `shipped`: the
    verdict as `veriscope predict` gives it; None without judged pictures."""

    calibration: Calibration
    uncalibrated: Scores
    calibrated: Scores
    by_chance: ByChance | None
    band: BandFigures | None
    no_band: str
    at_base_rate: dict[str, RateFigures]
    headline: str
    oracle: tuple[Oracle, ...]
    strange: OodFigures | None = None
    shipped: ShippedFigures | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict; undefined figures are null."""
        return {
            "calibration": self.calibration.model_dump(mode="json"),
            "uncalibrated": {key: {"value": self.uncalibrated[key]} for key, _ in _PROBABILITY},
            "ece_by_chance": None if self.by_chance is None else self.by_chance._asdict(),
            "shipped_verdict": None if self.shipped is None else self.shipped.to_dict(),
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
        found = [] if self.shipped is None else [Paragraph("Real, fake or unsure", tuple(self.shipped.sentences()))]
        found.append(Paragraph("Unsure by the score", tuple(self._unsure())))
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
        return [f"No verdict is unsure by its score: {self.no_band or 'this bundle has no band of unsure scores'}."]

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
            f"calibrated them {100 * own:.4g} % were fakes. The correction takes fakes and real pictures to look as "
            "they did. Rankings stay as they are, and so do verdicts at a threshold that was chosen on data: its "
            "number moved with the scores.",
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
        found = [f"score = {self.calibration.formula}, fitted on {self.calibration.fitted_on}: {changes}."]
        if self.by_chance is not None:
            found.append(
                "Were every score exactly right, so many pictures would still show a calibration error of about "
                f"{self.by_chance.mean:.4f}, and of less than {self.by_chance.high:.4f} 95 times of 100."
            )
        return found


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
        no_band: why there is no band, where it is known; else the reason is that of `terms`.
        strange_from: the `ood` from which the bundle calls a picture strange; None: it can't tell.

    """
    labels, scores, rate = table.labels, table.scores, terms.calibration.base_rate
    band, headline = terms.unsure, judgement.thresholds[judgement.headline]
    groups = group_codes(table.column("group"))
    drawn = _Drawn(draws=judgement.draws, seed=judgement.seed)
    return Reliance(
        calibration=terms.calibration,
        uncalibrated=probability_metrics(labels, raw_scores(table.logits, moved_by=terms.calibration), base_rate=rate),
        calibrated=probability_metrics(labels, scores, base_rate=rate),
        by_chance=None
        if rate is not None or groups is not None
        else calibration_error_by_chance(scores, seed=judgement.seed),
        band=None
        if band is None or len(labels) == 0
        else measure_band(
            labels, scores, band=band, threshold=terms.thresholds[band.threshold], groups=groups, **drawn
        ),
        no_band=no_band or terms.no_band,
        at_base_rate={} if rate is None else _expected_at(rate, table, judgement, groups=groups),
        headline=judgement.headline,
        oracle=oracle_figures(labels, scores),
        strange=None
        if strange_from is None
        else measure_ood(table, strange_from=strange_from, threshold=headline, **drawn),
        shipped=None
        if len(labels) == 0
        else measure_shipped(table, band=terms.band(headline), strange_from=strange_from, threshold=headline, **drawn),
    )


def _expected_at(
    rate: float, table: PredictionTable, judgement: Judgement, *, groups: Codes | None
) -> dict[str, RateFigures]:
    if groups is None:
        return expected_at(rate, judgement.confusion)
    values = {name: threshold.value for name, threshold in judgement.thresholds.items()}
    drawn = _Drawn(draws=judgement.draws, seed=judgement.seed)
    rates = group_rates(table.labels, table.scores, thresholds=values, groups=groups, **drawn)
    return expected_at(rate, judgement.confusion, rates=rates)


def _text(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4f}"
