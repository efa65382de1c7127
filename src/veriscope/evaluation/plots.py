"""The pictures of a judgement: matplotlib figures, without pyplot's global state, saved as PNG or inline SVG."""

import csv
import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from veriscope.errors import DataError, printable
from veriscope.evaluation.calibration import calibration_bins, expected_calibration_error, raw_scores
from veriscope.evaluation.metrics import UNDEFINED, auroc, average_precision, confusion, pr_curve, roc_curve
from veriscope.evaluation.predictions import PredictionTable
from veriscope.files import whole_or_not_at_all
from veriscope.types import CLASS_NAMES, FAKE, REAL, Calibration, Threshold

Pictures = dict[str, Picture]  # by name; for modules that pass them on and draw nothing

# Okabe & Ito 2008: told apart with every common colour blindness. The report swaps them for CSS variables.
REAL_COLOUR, FAKE_COLOUR, THIRD_COLOUR = "#0072b2", "#d55e00", "#009e73"
INK, MUTED, GRID = "#1b1f24", "#5a6370", "#d7dce2"
CLASS_COLOURS = {REAL: REAL_COLOUR, FAKE: FAKE_COLOUR}
_LINES = ("--", ":", "-.")

_STYLE: Any = {  # Any: matplotlib types the keys as one long Literal
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures look the same everywhere
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "veriscope",  # the same figures give the same bytes
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}
styled = mpl.rc_context(_STYLE)  # as a decorator: the style also has to hold while legends and ticks are made
_CLASS_NOTE = "real = 0, fake = 1 (positive)"
_HISTORY = ("train/loss", "val/loss", "val/auroc", "val/accuracy", "lr")
_WIDTH_IN, _HEIGHT_IN = 4.6, 3.7


def figures(
    table: PredictionTable,
    thresholds: Threshold | Mapping[str, Threshold],
    *,
    history: Path | None = None,
    fake_share: float | None = None,
) -> dict[str, Picture]:
    """Return name to picture: roc, roc_low_fpr, pr, scores, reliability, confusion, and history where given.

    Curves that need both classes are left out where one is missing; a table without judged rows gives no pictures
    but history. `fake_share`: of the calibration's data, for the reliability at a stated base rate.
    """
    named = {"threshold": thresholds} if isinstance(thresholds, Threshold) else dict(thresholds)
    found: dict[str, Picture] = {}
    if len(table.labels):
        if np.unique(table.labels).size == 2:
            found["roc"] = roc_picture(table, named)
            found["roc_low_fpr"] = roc_picture(table, named, low_fpr=True)
            found["pr"] = pr_picture(table)
        found["scores"] = score_picture(table, named)
        found["reliability"] = reliability_picture(table, fake_share=fake_share)
        found["confusion"] = confusion_picture(table, named)
    curves = None if history is None else history_picture(history)
    return found if curves is None else {**found, "history": curves}


@styled
def roc_picture(table: PredictionTable, thresholds: Mapping[str, Threshold], *, low_fpr: bool = False) -> Picture:
    """Return the ROC curve with the thresholds' working points; `low_fpr` stretches the left end on a log axis."""
    curve = roc_curve(table.labels, table.logits)
    area = auroc(table.labels, table.logits)
    picture, axes = blank("ROC curve where false alarms are rare" if low_fpr else f"ROC curve (AUROC {area:.3f})")
    num_real = int(np.sum(table.labels == REAL))
    if low_fpr:
        axes.set_xscale("log")
        left = 0.5 / num_real  # less than one real picture: where "no false alarm" is drawn
        axes.plot(np.maximum(curve.x, left), curve.y, color=FAKE_COLOUR, drawstyle="steps-post")
        axes.plot(np.geomspace(left, 1), np.geomspace(left, 1), color=MUTED, linewidth=1, linestyle="--")
        for rate in (0.01, 0.05):
            axes.axvline(rate, color=MUTED, linewidth=1, linestyle=":")
            axes.annotate(f"{rate:.0%}", (rate, 0.02), textcoords="offset points", xytext=(3, 0), color=MUTED)
        axes.set_xlim(left, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    else:
        left = 0.0
        axes.plot(curve.x, curve.y, color=FAKE_COLOUR)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        axes.set_xlim(-0.01, 1.01)
    for marker, (name, threshold) in zip("os^Dv", thresholds.items(), strict=False):
        counts = confusion(table.labels, table.scores, threshold=threshold.value)
        x, y = counts.fp / (counts.fp + counts.tn), counts.tp / (counts.tp + counts.fn)
        axes.plot(
            max(x, left), y, marker, color=INK, markersize=6, label=f"{name}: {threshold.value:.3g}", clip_on=False
        )
    axes.set(ylim=(-0.01, 1.01), xlabel="false alarms: share of real called fake", ylabel="share of fakes caught")
    legend = axes.legend(title="threshold", loc="lower right", frameon=True, framealpha=0.9)
    legend.get_frame().set(facecolor="white", edgecolor="white")
    return picture


@styled
def pr_picture(table: PredictionTable) -> Picture:
    """Return the precision-recall curve with the share of fakes as the line of guessing."""
    curve = pr_curve(table.labels, table.logits)
    picture, axes = blank(f"Precision and recall (AP {average_precision(table.labels, table.logits):.3f})")
    axes.plot(np.append(0, curve.x), np.append(curve.y[0], curve.y), color=FAKE_COLOUR, drawstyle="steps-pre")
    share = float(np.mean(table.labels == FAKE))
    axes.axhline(share, color=MUTED, linewidth=1, linestyle="--")
    axes.annotate(f"guessing: {share:.2f}", (0.02, share), textcoords="offset points", xytext=(0, 4), color=MUTED)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel="recall: share of fakes caught")
    axes.set_ylabel("precision: share of fake verdicts right")
    return picture


@styled
def score_picture(table: PredictionTable, thresholds: Mapping[str, Threshold]) -> Picture:
    """Return the histogram of scores of each class, as shares of the class, with the thresholds."""
    picture, axes = blank("Scores of real pictures and fakes")
    edges = np.linspace(0, 1, 31)
    for label, hatch in ((REAL, ""), (FAKE, "///")):
        own = table.scores[table.labels == label]
        if own.size:
            heights = np.histogram(own, bins=edges)[0] / own.size
            axes.stairs(heights, edges, fill=True, alpha=0.35, color=CLASS_COLOURS[label], hatch=hatch)
            axes.stairs(heights, edges, color=CLASS_COLOURS[label], label=f"{CLASS_NAMES[label]} ({own.size:,})")
    for line, (name, threshold) in zip(_LINES * 2, thresholds.items(), strict=False):
        axes.axvline(threshold.value, color=INK, linestyle=line, linewidth=1.3, label=f"{name} {threshold.value:.3g}")
    axes.set(xlim=(0, 1), xlabel="score: probability of fake", ylabel="share of the class")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return picture


@styled
def reliability_picture(table: PredictionTable, *, fake_share: float | None = None) -> Picture:
    """Return the share of fakes in each score bin against the mean score, before calibration, sigmoid(logit), and after
    it; dots grow with the number of pictures. Both are weighted to the table's base rate where it has one, and both
    corrected to it from `fake_share`, that of the calibration's data; without that, 'before' is left out."""
    rate = table.meta.base_rate
    where = "" if rate is None else f"\n(where {100 * rate:.3g} % are fakes)"  # in one line the edge cuts it off
    picture, axes = blank("Are scores probabilities?" + where)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect")
    moved_by = None if rate is None or fake_share is None else Calibration(fake_share=fake_share, base_rate=rate)
    raw = raw_scores(table.logits, moved_by=moved_by)
    kinds = [("calibrated", table.scores, THIRD_COLOUR, "o", "-")]
    comparable = rate is None or moved_by is not None
    # A cross-validation's logits are calibrated themselves: there is no before.
    if comparable and not np.allclose(raw, table.scores, atol=1e-6):
        kinds.insert(0, ("before calibration", raw, MUTED, "s", ":"))
    for name, scores, colour, marker, line in kinds:
        bins = calibration_bins(table.labels, scores, base_rate=rate)
        error = expected_calibration_error(table.labels, scores, base_rate=rate)
        text = f"{name}: error {UNDEFINED if error is None else format(error, '.3f')}"
        filled = bins.counts > 0
        x, y, counts = bins.mean_score[filled], bins.fake_share[filled], bins.counts[filled]
        axes.plot(x, y, color=colour, linewidth=1.2, linestyle=line, marker=marker, markersize=3, label=text)
        axes.scatter(x, y, s=12 + 150 * counts / counts.max(), color=colour, marker=marker, alpha=0.8)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="mean score in the bin", ylabel="share of fakes in the bin")
    axes.legend(loc="best")
    return picture


@styled
def confusion_picture(table: PredictionTable, thresholds: Mapping[str, Threshold]) -> Picture:
    """Return one confusion matrix a threshold, side by side, with counts and shares of the true class."""
    picture = Picture(figsize=(3.4 * len(thresholds), 3.4), layout="constrained")
    FigureCanvasAgg(picture)
    for axes, (name, threshold) in zip(
        np.atleast_1d(picture.subplots(1, len(thresholds))), thresholds.items(), strict=True
    ):
        tn, fp, fn, tp = confusion(table.labels, table.scores, threshold=threshold.value)
        _matrix(axes, ((tn, fp), (fn, tp)))
        axes.set_title(f"{name}: threshold {threshold.value:.3g}")
    picture.supxlabel(_CLASS_NOTE, fontsize=8, color=MUTED)
    return picture


@styled
def history_picture(history: Path) -> Picture | None:
    """Return the learning curves of a run's history.csv: loss, AUROC with accuracy, learning rate; None without rows.

    Columns read: epoch, phase, train/loss, val/loss, val/auroc, val/accuracy, lr. Absent or empty cells are gaps.

    Raises:
        DataError: it is damaged.

    """
    if not history.is_file():
        return None
    try:
        with history.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        epochs = [float(row["epoch"]) + 1 for row in rows]
        columns = {name: [_number(row.get(name)) for row in rows] for name in _HISTORY}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(f"'{history}' is damaged ({type(error).__name__})") from None
    if not rows:
        return None
    picture = Picture(figsize=(_WIDTH_IN, 6.2), layout="constrained")
    FigureCanvasAgg(picture)
    loss, quality, rate = picture.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.6))
    for axes, series in (
        (loss, (("train/loss", "train", REAL_COLOUR, "o-"), ("val/loss", "val", FAKE_COLOUR, "s--"))),
        (quality, (("val/auroc", "AUROC", FAKE_COLOUR, "s-"), ("val/accuracy", "accuracy", THIRD_COLOUR, "^--"))),
        (rate, (("lr", "", MUTED, "o-"),)),
    ):
        for column, label, colour, line in series:
            axes.plot(epochs, columns[column], line, color=colour, label=label, markersize=3.5)
    for axes, title in ((loss, "Loss"), (quality, "On validation data"), (rate, "Learning rate")):
        axes.set_title(title)
        for previous, (epoch, row) in zip(rows, list(zip(epochs, rows, strict=True))[1:], strict=False):
            if previous.get("phase") != row.get("phase"):
                axes.axvline(epoch - 0.5, color=MUTED, linewidth=1, linestyle=":")
    for axes in (loss, quality):
        axes.legend(loc="lower left", bbox_to_anchor=(0.45, 1.0), ncols=2, borderaxespad=0.2)
    phases = {row.get("phase") for row in rows}
    rate.set_xlabel("epoch (dotted: a new phase begins)" if len(phases) > 1 else "epoch")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useOffset=False)
    rate.set_ylim(bottom=0)
    rate.xaxis.get_major_locator().set_params(integer=True)
    return picture


def save_png(picture: Picture, path: Path, *, note: str = "", dots_per_inch: int = 150) -> Path:
    """Write the picture on white as PNG, whole or not at all, and return its path; `note` goes below it."""
    if note:
        own = picture.get_supxlabel()
        picture.supxlabel("\n".join([own] * bool(own) + [drawable(textwrap.fill(note, 80))]), fontsize=6.5, color=MUTED)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_not_at_all(path) as temporary, mpl.rc_context(_STYLE):
        picture.savefig(temporary, format="png", dpi=dots_per_inch, facecolor="white")
    return path


def drawable(text: str) -> str:
    """Return a text as matplotlib draws it: what stands between two $ is no formula, and no name breaks the drawing."""
    return printable(text, keep="\n").replace("$", r"\$")


def svg_text(picture: Picture) -> str:
    """Return the picture as an <svg> element on no background, without XML header, for a page that holds it."""
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        picture.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def blank(title: str) -> tuple[Picture, Axes]:
    """Return a picture of the usual size with one empty plot."""
    picture = Picture(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots()
    axes.set_title(title)
    picture.supxlabel(_CLASS_NOTE, fontsize=8, color=MUTED)
    return picture, axes


def _matrix(axes: Axes, rows: tuple[tuple[int, int], tuple[int, int]]) -> None:
    axes.grid(False)
    for truth, counts in enumerate(rows):
        total = sum(counts)
        for called, count in enumerate(counts):
            share = count / total if total else 0.0
            colour = THIRD_COLOUR if truth == called else FAKE_COLOUR
            axes.add_patch(Rectangle((called - 0.5, truth - 0.5), 1, 1, facecolor=colour, alpha=0.08 + 0.6 * share))
            text = f"{count:,}\n{share:.1%}" if total else "none"
            axes.text(called, truth, text, ha="center", va="center", fontsize=12)
    axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5), aspect="equal", xlabel="verdict", ylabel="truth")
    axes.set_xticks([0, 1], CLASS_NAMES)
    axes.set_yticks([0, 1], CLASS_NAMES)
    axes.tick_params(length=0)


def _number(cell: str | None) -> float:
    return float(cell) if cell not in (None, "", "None") else float("nan")
