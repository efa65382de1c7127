"""From a logit to a verdict: calibration, thresholds and unsure band, as they ship or corrected to a base rate."""

from typing import NamedTuple

from veriscope.bundle.record import VERDICT_FORMAT_VERSION, BundleRecord
from veriscope.errors import BundleError, nearest
from veriscope.types import TUNED_THRESHOLDS, Calibration, Threshold, UnsureBand, preferred_name


class Terms(NamedTuple):
    """What turns a logit into a verdict. `no_band`: why a base rate took the bundle's band away, else empty."""

    calibration: Calibration
    thresholds: dict[str, Threshold]
    unsure: UnsureBand | None
    no_band: str = ""

    @property
    def preferred(self) -> Threshold:
        """The threshold that was chosen on data where there is one, else the default."""
        return self.thresholds[preferred_name(self.thresholds)]

    def threshold(self, name: str) -> Threshold:
        """Return a threshold by name ('default', 'val', an ensemble's 'out_of_fold') or by value ('0.35').

        Raises:
            BundleError: no such name, and no number in [0, 1].

        """
        if name in self.thresholds:
            return self.thresholds[name]
        try:
            return Threshold(value=float(name), rule="given by hand", chosen_on="none")
        except ValueError:
            names = sorted(self.thresholds)
            raise BundleError(
                f"threshold '{name}' is neither a number from 0 to 1 nor one of this bundle's. {nearest(name, names)}"
            ) from None

    def band(self, threshold: Threshold) -> UnsureBand | None:
        """Return the unsure band around `threshold`; None where there is none, or it was chosen around another."""
        if self.unsure is None or self.thresholds[self.unsure.threshold] != threshold:
            return None
        return self.unsure


def terms(record: BundleRecord, *, base_rate: float | None = None) -> Terms:
    """Return the record's terms; with `base_rate`, corrected to that share of fakes (Saerens et al. 2002).

    Every score moves. A threshold that was chosen on data moves with them, and so does the band around it: they are
    cuts between pictures, and what they catch and accuse doesn't depend on how many fakes there are. So their verdicts
    stay. 0.5, and a number given by hand, is a statement about the probability: it stays what it is, and verdicts
    change. A band around 0.5 is left out then: moved or not, it would not lie around the verdicts that it was chosen
    for.

    Raises:
        BundleError: the record doesn't say the share of fakes in the data of its calibration, or no share in (0, 1).

    """
    if base_rate is None:
        return Terms(record.calibration, dict(record.thresholds), record.unsure)
    if not 0 < base_rate < 1:
        raise BundleError(f"a base rate is a share of fakes above 0 and below 1, not {base_rate:g}")
    if record.calibration.fake_share is None:
        raise BundleError(
            "this bundle's scores can't be corrected to a base rate, it holds no share of fakes to correct from: "
            f"{_why_no_share(record)}. Train anew with calibration.method=platt, or leave the base rate out."
        )
    calibration = record.calibration.at_base_rate(base_rate)
    thresholds = {name: _moved(name, threshold, calibration) for name, threshold in record.thresholds.items()}
    band = record.unsure
    if band is None:
        return Terms(calibration, thresholds, None)
    if band.threshold not in TUNED_THRESHOLDS:
        return Terms(
            calibration,
            thresholds,
            None,
            f"the bundle's band lies around the threshold '{band.threshold}', which stays at "
            f"{thresholds[band.threshold].value:g} when scores are corrected to a base rate, so that other pictures "
            "lie around it",
        )
    ends = {"low": calibration.moved(band.low), "high": calibration.moved(band.high)}
    return Terms(calibration, thresholds, band.model_copy(update=ends))


def _why_no_share(record: BundleRecord) -> str:
    if record.calibration.fitted_on == "none":
        return "nothing calibrated them"
    leaning = (
        f"they lie too high or too low as a whole for that of {record.calibration.fitted_on}, as after "
        "loss.class_weight=balanced"
    )
    # A bundle with an unsure band or a score of strangeness is of a program that writes the share down if it holds.
    known = record.format_version == VERDICT_FORMAT_VERSION
    return leaning if known else f"{leaning}; or veriscope {record.veriscope_version} didn't write it down"


def _moved(name: str, threshold: Threshold, calibration: Calibration) -> Threshold:
    if name not in TUNED_THRESHOLDS:
        return threshold
    rule = f"{threshold.rule}; {threshold.value:.4g} before the correction to {calibration.base_rate:.4g} of fakes"
    return threshold.model_copy(update={"value": calibration.moved(threshold.value), "rule": rule})
