"""What the found shortcuts come to, in plain words."""

from veriscope.audit.check import MEND_FILES, Check, Status, status_of
from veriscope.audit.facts import CONTAINER_UNITS, CONTAINER_WORDS, PIXEL_WORDS
from veriscope.audit.shortcuts import Fact, Question, Shortcuts
from veriscope.config.audit import ShortcutsConfig
from veriscope.errors import printable
from veriscope.evaluation.figures import Figure

_WORDS = {**CONTAINER_WORDS, **PIXEL_WORDS}
_ALONE = 0.02  # a fact this near to the model needs no other
_CHIEFLY = 0.8  # of the model's gap between the classes: so much is explained by the facts that are named
_MOST = 3

_MEND_DETAIL = (
    "Format, size and quality hardly differ. `veriscope align` takes metadata and other ways of packing away; what is "
    "left after it is how much detail the pictures hold. Then look at both classes side by side: if one was smoothed, "
    "sharpened or scaled before, process both alike; if it is what they show, a detector may learn no more than that, "
    "so judge it on fakes of other kinds, too."
)
_AMOUNTS = ("size_bytes", "bits_per_pixel")  # that follow from what is in a picture, however it is stored
_ALIKE = 0.6  # a fact of the storage whose AUROC may lie below it is no reason to store anew
_MEND_UNMEASURED = (
    "Whether a detector could cheat is open: add pictures; or audit a copy of the list with finer groups, or none."
)
_MEND_PIXELS = (
    "Look at real and fake pictures side by side: if their processing differs (size before, sharpening, colours), "
    "process them alike; if it is what they show, a detector may rightly use it."
)


def shortcut_checks(found: Shortcuts, *, config: ShortcutsConfig) -> list[Check]:
    """Return a check for each question: `shortcuts.container`, `shortcuts.pixels`, `shortcuts.container.GENERATOR`.

    What decides is the lower end of the interval of the strongest figure, and that shuffled labels reach it in at most
    `config.max_p` of cases. Only the files' facts of all fakes can stop; one generator, and facts of the pixels, which
    are partly content, warn.
    """
    return [_check(question, config) for question in found.questions]


def _check(question: Question, config: ShortcutsConfig) -> Check:
    pixels = question.family == "pixels"
    name = ".".join(filter(None, ("shortcuts", question.family, printable(question.generator or ""))))
    count = question.num_fake + question.num_real
    if question.not_measured:
        # Nothing was found because nothing could be: no reason to pass. That a generator is small, class_size says.
        small = question.generator is not None and question.num_fake < config.min_pictures
        text = f"Not measured: {question.not_measured}."
        if small:
            return Check(name=name, status="pass", measured=False, text=text, count=count)
        return Check(name=name, status="warn", measured=False, text=text, mend=_MEND_UNMEASURED, count=count)
    warn_at = config.warn_pixels_auroc if pixels else config.warn_auroc
    stop_at = None if pixels or question.generator is not None else config.stop_auroc
    if not question.facts:
        what = "brightness, colour and detail" if pixels else "the files' format, size and storage"
        text = f"All pictures are alike in {what}: nothing there tells real from fake."
        return Check(name=name, status="pass", text=text, value=0.5, warn_at=warn_at, stop_at=stop_at, count=count)
    interval = question.strongest.interval
    low = 0.5 if interval is None else max(interval.low, 0.0)
    by_chance = question.p is None or question.p > config.max_p
    status: Status = "pass" if by_chance else status_of(low, warn_at=warn_at, stop_at=stop_at)
    fine = status == "pass"
    return Check(
        name=name,
        status=status,
        text=" ".join(_sentences(question, status, warn_at=warn_at, by_chance=by_chance and low >= warn_at)),
        mend=None if fine else _mend(question),
        value=low,
        warn_at=warn_at,
        stop_at=stop_at,
        count=count,
        examples=() if fine else question.examples,
    )


def _mend(question: Question) -> str:
    if question.family == "pixels":
        return _MEND_PIXELS
    stored = [fact.auroc.interval for fact in question.facts if fact.name not in _AMOUNTS]
    return MEND_FILES if any(span is not None and span.low >= _ALIKE for span in stored) else _MEND_DETAIL


def _sentences(question: Question, status: Status, *, warn_at: float, by_chance: bool) -> list[str]:
    whom = f"{printable(question.generator or 'fake')} from real"
    best = question.facts[0]
    model, alone = question.model.value or 0.0, best.auroc.value or 0.0
    pixels = question.family == "pixels"
    where = "the pixels" if pixels else "the files"
    everything = f"the {len(question.facts)} facts of {where} together"
    if status == "pass":
        told = (
            f"{_upper(_WORDS[best.name])}, the one fact in which {where} differ, tells {whom} with AUROC "
            f"{_text(question.strongest)}"
            if len(question.facts) == 1
            else f"{_upper(everything)} tell {whom} with AUROC {_text(question.model)}, the best alone, "
            f"{_WORDS[best.name]}, with {_text(best.auroc)}"
        )
        chance = f" Shuffled labels come as far (p = {question.p:.2f}): that is chance." if by_chance else ""
        return [f"{told}; a shortcut would have its interval above {warn_at:.2f}.{chance}"]
    if alone >= model - _ALONE:
        said = [f"{_upper(_WORDS[best.name])} alone tells {whom} with AUROC {_text(best.auroc)}: {_sides(best)}."]
        said += [
            f"So does {_WORDS[other.name]}, with {_text(other.auroc)}: {_sides(other)}."
            for other in question.facts[1:_MOST]
            if (other.auroc.value or 0.0) >= model - _ALONE
        ]
        if len(question.facts) > 1:
            said.append(f"{_upper(everything)}: {_text(question.model)}.")
    else:
        said = [
            f"{_upper(everything)} tell {whom} with AUROC {_text(question.model)}, chiefly {_chiefly(question)}; "
            f"the best alone is {_WORDS[best.name]} with {_text(best.auroc)} ({_sides(best)})."
        ]
    said.append(f"{question.num_fake:,} fakes, {question.num_real:,} real pictures, p = {question.p:.2g}.")
    if pixels:
        said.append("Such facts are partly what pictures show, so this is no proof of a fault.")
    return said


def _chiefly(question: Question) -> str:
    named, total = [], 0.0
    for fact in sorted(question.facts, key=lambda fact: -fact.share)[:_MOST]:
        named.append(_WORDS[fact.name])
        total += fact.share
        if total >= _CHIEFLY:
            break
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _sides(fact: Fact) -> str:
    along = f"; {', '.join(_WORDS[name] for name in fact.twins)} along with it" if fact.twins else ""
    if fact.direction == "levels":
        fakes, real = (f"{100 * share:.0f} %" for share in (fact.of_fakes, fact.of_real))
        return f"{fact.level} in {fakes} of fakes and {real} of real pictures{along}"
    unit = f" {CONTAINER_UNITS[fact.name]}" if fact.name in CONTAINER_UNITS else ""
    medians = f"{_number(fact.of_fakes)}{unit} against {_number(fact.of_real)} in real pictures"
    return f"{fact.direction} in fakes, median {medians}{along}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _text(found: Figure) -> str:
    if found.value is None:
        return "undefined"
    span = "" if found.interval is None else f" ({found.interval.low:.2f} to {found.interval.high:.2f})"
    return f"{found.value:.2f}{span}"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
