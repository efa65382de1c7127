"""How strange the judged pictures are to a model, and what its verdicts are worth without the strange ones."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from veriscope.evaluation.figures import Figure, figure_dict
from veriscope.evaluation.groups import NO_GENERATOR
from veriscope.evaluation.intervals import group_codes
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.shares import DRAWS, Share, share_figures
from veriscope.evaluation.unsure import complement, share_text
from veriscope.types import CLASS_NAMES, FAKE, Threshold

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class StrangeRow(NamedTuple):
    """Of one class, or of one generator's fakes: how many pictures there are, and the share of strange ones."""

    name: str
    support: int
    strange: Figure


@dataclass(frozen=True, slots=True)
class OodFigures:
    """How the judged pictures' `ood` lies, which is even from 0 to 1 on pictures like validation's.

    `strange`: share at or above `strange_from`. `accuracy_all`: of all verdicts at the threshold; `accuracy`: of those
    for pictures that are not strange, `accuracy_strange` of the others. `wrong_flagged` and `right_flagged`: share of
    wrong, and of right, verdicts that are for strange pictures: the first should be far above the second. `num_unknown`
    pictures have no `ood` and count nowhere here.
    """

    strange_from: float
    num_pictures: int
    num_unknown: int
    quantiles: dict[str, float]
    strange: Figure
    by_class: tuple[StrangeRow, ...]
    by_generator: tuple[StrangeRow, ...]
    accuracy_all: Figure
    accuracy: Figure
    accuracy_strange: Figure
    wrong_flagged: Figure
    right_flagged: Figure

    @property
    def coverage(self) -> Figure:
        """Share of pictures with a verdict when strange ones have none."""
        return complement(self.strange)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict; undefined figures are null."""
        shares = (
            "strange",
            "coverage",
            "accuracy_all",
            "accuracy",
            "accuracy_strange",
            "wrong_flagged",
            "right_flagged",
        )
        rows = {"classes": self.by_class, "generators": self.by_generator}
        return {
            "strange_from": self.strange_from,
            "pictures": self.num_pictures,
            "unknown": self.num_unknown,
            "quantiles": self.quantiles,
            **{name: figure_dict(getattr(self, name)) for name in shares},
            **{
                name: [{"name": row.name, "support": row.support, "strange": figure_dict(row.strange)} for row in found]
                for name, found in rows.items()
            },
        }

    def sentences(self) -> list[str]:
        """Return what a reader should know, for a report or a terminal."""
        expected = f"{100 * (1 - self.strange_from):.3g} %"
        parts = ", ".join(f"{row.name} {share_text(row.strange)}" for row in (*self.by_class, *self.by_generator))
        found = [
            f"Stranger to it than {100 * self.strange_from:.4g} % of its validation pictures, and so 'unsure': "
            f"{share_text(self.strange)} of these ({parts}). Of pictures like validation's about {expected} would."
        ]
        if self.strange_from >= 1:
            found = ["Its bundle calls nothing strange (ood.threshold=1)."]
        elif self.accuracy.value is None:
            found.append("No picture is left that isn't strange to it.")
        else:
            found.append(
                f"Of the verdicts for the others {share_text(self.accuracy)} are right, of all "
                f"{share_text(self.accuracy_all)}. Strange are {share_text(self.wrong_flagged)} of the pictures that "
                f"it gets wrong and {share_text(self.right_flagged)} of those that it gets right."
            )
        if self.num_unknown:
            found.append(f"Of {self.num_unknown:,} pictures it is not known how strange they are.")
        return found


def measure_ood(
    table: PredictionTable, *, strange_from: float, threshold: Threshold, draws: int = DRAWS, seed: int = 42
) -> OodFigures | None:
    """Return the figures of the judged rows, with the intervals of shares.share_figures; None where no row has an
    `ood`.

    Args:
        table: the predictions, with the column `ood`.
        strange_from: the `ood` from which a picture is strange; compared in fp32, as the table stores it.
        threshold: scores from it on are called fake.
        draws: of groups, where rows have any.
        seed: of the draws.

    """
    ood = table.ood
    known = ~np.isnan(ood)
    if not known.any():
        return None
    labels, right = table.labels[known], (table.scores[known] >= threshold.value) == (table.labels[known] == FAKE)
    names = np.array([name or NO_GENERATOR for name in table.column("generator")], dtype=object)[known]
    strange = ood[known] >= np.float32(strange_from)
    fakes = sorted(set(names[labels == FAKE]) - {NO_GENERATOR})
    parts = {f"class {name}": labels == label for label, name in enumerate(CLASS_NAMES)}
    parts |= {f"generator {name}": (labels == FAKE) & (names == name) for name in fakes}
    everything = np.ones_like(strange)
    shares: dict[str, Share] = {
        "strange": (strange, everything),
        "accuracy_all": (right, everything),
        "accuracy": (right, ~strange),
        "accuracy_strange": (right, strange),
        "wrong_flagged": (strange, ~right),
        "right_flagged": (strange, right),
        **{name: (strange, part) for name, part in parts.items()},
    }
    codes = group_codes(table.column("group"))
    found = share_figures(labels, shares, groups=None if codes is None else codes[known], draws=draws, seed=seed)
    rows = {name: StrangeRow(name.partition(" ")[2], int(part.sum()), found[name]) for name, part in parts.items()}
    return OodFigures(
        strange_from=strange_from,
        num_pictures=int(known.sum()),
        num_unknown=int((~known).sum()),
        quantiles={f"{q:g}": float(np.quantile(ood[known], q)) for q in QUANTILES},
        strange=found["strange"],
        by_class=tuple(row for name, row in rows.items() if name.startswith("class ") and row.support),
        by_generator=tuple(row for name, row in rows.items() if name.startswith("generator ")),
        accuracy_all=found["accuracy_all"],
        accuracy=found["accuracy"],
        accuracy_strange=found["accuracy_strange"],
        wrong_flagged=found["wrong_flagged"],
        right_flagged=found["right_flagged"],
    )
