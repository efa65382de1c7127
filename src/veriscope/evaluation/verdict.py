"""The verdict on a model in plain words: how good, for what, and what the figures can't tell."""

from typing import TYPE_CHECKING, Literal

from veriscope.evaluation.intervals import Interval

if TYPE_CHECKING:
    from veriscope.evaluation.judge import Judgement

Grade = Literal["good", "fair", "weak", "unusable"]

# Balanced accuracy at the lower end of its interval: a half is guessing. Our own steps, not a standard's.
_GRADES: tuple[tuple[float, Grade], ...] = ((0.9, "good"), (0.8, "fair"), (0.6, "weak"))
_LEAD = {
    "good": "Good on these pictures",
    "fair": "Fair on these pictures",
    "weak": "Weak on these pictures",
    "unusable": "Unusable on these pictures",
}
# Share of fakes for which the use is stated, unless a base rate is: most pictures that people meet are real.
_RARE = 0.01
_WHOSE = {
    "source": "from",
    "format": "of the format",
    "size": "whose shorter side is",
    "compression": "saved with",
}
_HOLDS = 0.95  # share of right fake verdicts from which no warning against accusing stands
_ENOUGH_GROUPS = 30


def grade(judgement: "Judgement") -> Grade | None:
    """Return how good the model is at the headline threshold; None where one class is missing.

    By the lower end of the interval of balanced accuracy: good from 0.9, fair from 0.8, weak from 0.6. What can't be
    told from a coin's toss by AUROC is unusable. Without an interval by the value itself.
    """
    found, ranking = judgement.at[judgement.headline]["balanced_accuracy"], judgement.free["auroc"]
    if found.value is None or ranking.value is None:
        return None
    if (ranking.value if ranking.interval is None else ranking.interval.low) <= 0.5:
        return "unusable"
    low = found.value if found.interval is None else found.interval.low
    return next((word for least, word in _GRADES if low >= least), "unusable")


def verdict_sentences(judgement: "Judgement") -> list[str]:
    """Return the verdict, the main sentence first."""
    if judgement.num_judged == 0:
        return ["There is nothing to judge: no picture has both a verdict and a known label."]
    sentences = _coin_toss(judgement)
    word = grade(judgement)
    main = _main(judgement)
    lead = "" if word is None else f"{_LEAD[word]}: "
    sentences.append(lead + main if lead and not sentences else main[0].upper() + main[1:])
    if word is not None:
        sentences.append(_use(judgement, word))
    ranking = judgement.free["auroc"]
    if ranking.value is not None:
        sentences.append(
            f"Shown one fake and one real picture, it ranks the fake higher {_of_100(ranking.value)} times of 100."
        )
    sentences += _worst(judgement)
    sentences += judgement.caveats
    if judgement.num_groups is not None and judgement.num_groups < _ENOUGH_GROUPS:
        sentences.append(
            f"The pictures come from {judgement.num_groups} groups only (videos, persons): the intervals are probably "
            "too narrow."
        )
    if judgement.num_fake == 0 or judgement.num_real == 0:
        only = "real" if judgement.num_fake == 0 else "fake"
        sentences.append(f"The data holds only {only} pictures: what compares the two classes is undefined.")
    if judgement.num_unreadable:
        sentences.append(
            f"{judgement.num_unreadable} of {judgement.num_images} files got no verdict and count nowhere."
        )
    return sentences


def _coin_toss(judgement: "Judgement") -> list[str]:
    ranking = judgement.free["auroc"]
    if ranking.interval is None or ranking.interval.low > 0.5:
        return []
    if ranking.interval.high < 0.5:
        return ["Unusable: it has the classes upside down, real pictures rank as more fake than fakes."]
    return ["Unusable: it can't be told from a coin's toss, the interval of its AUROC includes 0.5."]


def _main(judgement: "Judgement") -> str:
    recall, specificity = judgement.at[judgement.headline]["recall"], judgement.at[judgement.headline]["specificity"]
    parts = []
    if recall.value is not None:
        parts.append(f"of 100 fakes it catches {_of_100(recall.value)}{_span_100(recall.interval)}")
    if specificity.value is not None:
        wrong = None if specificity.interval is None else (1 - specificity.interval.high, 1 - specificity.interval.low)
        span = "" if wrong is None else f" ({_of_100(wrong[0])} to {_of_100(wrong[1])})"
        joint = "it accuses" if parts else "of 100 real pictures it accuses"
        object_ = " of 100 real pictures wrongly" if parts else " wrongly"
        parts.append(f"{joint} {_of_100(1 - specificity.value)}{object_}{span}")
    return ", and ".join(parts) + "."


def _use(judgement: "Judgement", word: Grade) -> str:
    """Return what the model may be used for; from Bayes' rule, how often a fake verdict holds where fakes are as
    frequent as stated, else rare."""
    recall = judgement.at[judgement.headline]["recall"].value or 0.0
    alarms = 1 - (judgement.at[judgement.headline]["specificity"].value or 0.0)
    ranks = judgement.free["auroc"].interval
    if word in ("weak", "unusable") and ranks is not None and ranks.low >= _GRADES[0][0]:
        return "It ranks these pictures well: the threshold doesn't fit them, the model may."
    if word == "unusable":
        return "Don't rely on it for pictures like these."
    rate = _RARE if judgement.base_rate is None else judgement.base_rate
    called = recall * rate + alarms * (1 - rate)
    if called == 0:
        return "At this threshold it calls nothing fake: choose a lower one."
    share = recall * rate / called
    use = {
        "good": "Fit to sort pictures like these",
        "fair": "Fit to sort pictures like these for a person to look at",
        "weak": "A hint at most",
    }[word]
    right = f"{_of_100(share)} of 100 fake verdicts would be right"
    stated = f"where {100 * rate:.3g} pictures of 100 are fake, as stated"
    if share >= _HOLDS:
        where = "even where only 1 picture of 100 is fake" if judgement.base_rate is None else stated
        return f"{use}: {where}, {right}, by these figures."
    where = "where 1 picture of 100 is fake" if judgement.base_rate is None else stated
    return f"{use}; not to accuse by a single verdict: {where}, {right}."


def _worst(judgement: "Judgement") -> list[str]:
    """Name what it is worst at, where the worst lies clearly below the average."""
    found = []
    recall = judgement.generator_spread.get(judgement.headline)
    if recall is not None and recall.mean - recall.minimum > 0.05:
        found.append(
            f"Worst against {recall.worst}: it catches {_of_100(recall.minimum)} of 100 (mean over {recall.num_groups} "
            f"generators: {_of_100(recall.mean)})."
        )
    spreads = [(table.key, table.spread["accuracy"]) for table in judgement.group_tables if "accuracy" in table.spread]
    key, spread = max(spreads, key=lambda pair: pair[1].mean - pair[1].minimum, default=("", None))
    # One sentence: size, format and data set often say the same thing, and the tables say the rest.
    if spread is not None and spread.mean - spread.minimum > 0.1:
        found.append(
            f"Of pictures {_WHOSE[key]} {spread.worst} only {_of_100(spread.minimum)} of 100 are judged right."
        )
    return found


def _of_100(share: float) -> str:
    """Return a share as a whole number of 100 that never rounds a rest away to 0 or 100."""
    percent = 100 * share
    if 0 < percent < 0.5:
        return "less than 1"
    if 99.5 < percent < 100:
        return "more than 99"
    return str(int(percent + 0.5))


def _span_100(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f" (95 % interval {_of_100(interval.low)} to {_of_100(interval.high)})"
