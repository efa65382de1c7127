"""What has to be said wherever a bundle's figures or verdicts are shown."""

from veriscope.data.synthetic import SYNTHETIC_NOTICE
from veriscope.evaluation.judge import Judgement

NO_BETTER_THAN_CHANCE = (
    "Not usable: on its own validation pictures it can't be told from a coin's toss; its verdicts mean nothing."
)


def bundle_notices(judgement: Judgement, *, synthetic: bool) -> tuple[str, ...]:
    """Return the notices of a bundle that `judgement` found so on its validation pictures, or out of fold.

    Args:
        judgement: whose AUROC's interval has to lie above 0.5.
        synthetic: trained on the built-in data.

    """
    notices: tuple[str, ...] = (SYNTHETIC_NOTICE,) if synthetic else ()
    auroc = judgement.free["auroc"]
    if auroc.value is None or auroc.interval is None or auroc.interval.low <= 0.5:
        notices += (NO_BETTER_THAN_CHANCE,)
    return notices
