"""From an answer to a verdict: a bundle's terms, and what a person wishes in their place."""

import argparse
from dataclasses import dataclass
from typing import Any, Self

from veriscope.bundle.base import BaseBundle
from veriscope.bundle.bundle import load_bundle
from veriscope.bundle.scorer import Scored
from veriscope.bundle.terms import Terms
from veriscope.errors import DataError, printable
from veriscope.models.ood import is_strange
from veriscope.types import CLASS_MAP_TEXT, Threshold, UnsureBand, Verdict, name_verdict


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns answers of `bundle` into verdicts.

    fake from `threshold` on, else real; unsure inside `band`, or where `ood` reaches `strange_from`. None of either: no
    picture is unsure for that reason.
    """

    bundle: BaseBundle
    terms: Terms
    threshold: Threshold
    band: UnsureBand | None
    strange_from: float | None

    @classmethod
    def of(
        cls,
        bundle: BaseBundle,
        *,
        threshold: str | None = None,
        base_rate: float | None = None,
        unsure: bool = True,
        strange_from: float | None = None,
    ) -> Self:
        """Return the judge that the bundle ships with, but for what is named.

        Args:
            bundle: whose answers are to be judged.
            threshold: a name or a number (Terms.threshold); None: the one chosen on data.
            base_rate: share of fakes that scores are corrected to, in (0, 1).
            unsure: False calls every picture real or fake.
            strange_from: share of validation pictures, above 0.5; 1: no picture is unsure for being strange.

        Raises:
            BundleError: no such threshold, or a base rate that the bundle can't be corrected to.
            DataError: `strange_from` of a bundle that can't tell, or no share.

        """
        terms = bundle.terms(base_rate=base_rate)
        chosen = terms.preferred if threshold is None else terms.threshold(threshold)
        strange = _strange_from(bundle, asked=strange_from)
        return cls(bundle, terms, chosen, terms.band(chosen) if unsure else None, strange if unsure else None)

    @property
    def may_be_unsure(self) -> bool:
        """Whether 'unsure' is among its verdicts."""
        return self.band is not None or self.strange_from is not None

    def verdict(self, scored: Scored) -> Verdict:
        """Return the verdict; label None and the reason where there is no score."""
        return to_verdict(scored, threshold=self.threshold, band=self.band, strange_from=self.strange_from)

    def facts(self) -> dict[str, Any]:
        """Return all that decides its verdicts, as plain values for JSON."""
        record = self.bundle.record
        return {
            "bundle": str(self.bundle.path),
            "weights_sha256": record.weights_sha256,
            "class_map": record.class_map,
            "threshold": self.threshold.model_dump(),
            "unsure": None if self.band is None else self.band.model_dump(),
            "ood": None if record.ood is None else {**record.ood.model_dump(), "unsure_from": self.strange_from},
            "calibration": self.terms.calibration.model_dump(),
            "notices": list(record.notices),
        }

    def footer(self) -> str:
        """Return what a reader must know beside the verdicts: class map, threshold and its origin, what is unsure, a
        base rate, the bundle's notices."""
        threshold = self.threshold
        origin = (
            threshold.rule if threshold.chosen_on == "none" else f"{threshold.rule}, chosen on {threshold.chosen_on}"
        )
        lines = [f"{CLASS_MAP_TEXT}; fake from {threshold.value:.4g} on ({origin}).", *self._about_unsure()]
        rate, own = self.terms.calibration.base_rate, self.terms.calibration.fake_share
        if rate is not None and own is not None:
            lines.append(
                f"Scores are corrected to a share of fakes of {rate:.4g}, as you stated; the calibration's data held "
                f"{own:.4g}."
            )
        lines.append(self.bundle.record.model.input.leaves_out)
        return printable(" ".join(line for line in (*lines, *self.bundle.notices) if line))

    def _about_unsure(self) -> list[str]:
        band, terms, ood = self.band, self.terms, self.bundle.record.ood
        lines = []
        if band is not None and band.low < band.high:
            lines.append(
                f"Unsure: scores from {band.low:.4g} to {band.high:.4g}; of the other verdicts "
                f"{100 * band.accuracy:.1f} % were right on {band.chosen_on}, which chose the band."
            )
        elif terms.no_band:
            lines.append(f"No verdict is 'unsure' by its score: {terms.no_band}.")
        elif band is None and terms.unsure is not None and terms.unsure.low < terms.unsure.high:
            lines.append(
                "No verdict is 'unsure' by its score: the bundle's band is left out, or belongs to another threshold."
            )
        if ood is None:
            lines.append("This bundle can't tell what it has never seen: it has no out-of-distribution score.")
        elif self.strange_from is not None:
            lines.append(
                f"Unsure, too: what is stranger to it than {100 * self.strange_from:.4g} % of {ood.fitted_on}."
            )
        return lines


def judge_of(arguments: argparse.Namespace) -> Judge:
    """Return the judge that the arguments of commands.predict.add_terms ask for, of the bundle that they name.

    Raises:
        VeriscopeError: no such bundle, and as Judge.of.

    """
    return Judge.of(
        load_bundle(arguments.bundle),
        threshold=arguments.threshold,
        base_rate=arguments.base_rate,
        unsure=not arguments.no_unsure,
        strange_from=arguments.ood_threshold,
    )


def to_verdict(
    scored: Scored, *, threshold: Threshold, band: UnsureBand | None = None, strange_from: float | None = None
) -> Verdict:
    """Return the verdict: unsure inside the band or where `ood` reaches `strange_from`, else fake where the score
    reaches the threshold. None of either: no picture is unsure for that reason."""
    if scored.score is None:
        return Verdict(
            path=str(scored.path),
            label=None,
            score=None,
            logit=None,
            threshold=threshold.value,
            error=scored.error or "no score",
        )
    label = name_verdict(scored.score, threshold=threshold.value, band=band)
    reasons = []
    if strange_from is not None and is_strange(scored.ood, strange_from):
        reasons.append(strange_reason(strange_from))
    if label == "unsure":
        reasons.append("the score is in the unsure band")
    return Verdict(
        path=str(scored.path),
        label="unsure" if reasons else label,
        score=scored.score,
        logit=scored.logit,
        threshold=threshold.value,
        unsure_because="; ".join(reasons) or None,
        ood=scored.ood,
    )


def strange_reason(strange_from: float) -> str:
    """Return why a picture whose `ood` reaches `strange_from` is unsure."""
    share = f"{100 * strange_from:.4g} %"
    return f"unlike anything it was trained with (stranger than {share} of its validation pictures)"


def _strange_from(bundle: BaseBundle, *, asked: float | None) -> float | None:
    """Return the `ood` from which a picture is unsure: what was asked for, else the bundle's; None: none is.

    Raises:
        DataError: asked of a bundle that can't tell, or no share.

    """
    own = bundle.record.ood
    if asked is None:
        return None if own is None or own.threshold >= 1 else own.threshold
    if own is None:
        raise DataError(
            f"--ood-threshold: bundle '{bundle.path}' has no out-of-distribution score. "
            "Leave the option out, or train anew with ood.method=knn."
        )
    if not 0.5 < asked <= 1:
        raise DataError(f"--ood-threshold {asked:g}: a share of validation above 0.5 and at most 1, as 0.99 (1: none).")
    return None if asked >= 1 else asked
