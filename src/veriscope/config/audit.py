"""From which figures on an audit warns and stops, and what training does about it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from veriscope.types import Frozen, OpenShare, Share

Auroc = Annotated[float, Field(ge=0.5, le=1)]


class IntegrityConfig(Frozen):
    """Of files and counts."""

    stop_unreadable: Share = Field(default=0.05, description="share of a class that can't be decoded; one file warns")
    warn_imbalance: float = Field(default=5.0, ge=1, description="pictures of the larger class for one of the smaller")
    warn_class_size: int = Field(default=50, ge=1, description="fewer pictures of a class in a split warn")
    warn_class_gap: Share = Field(
        default=0.05, description="share of one class with a file format, or kind of colours, less that of the other"
    )
    warn_side_px: int = Field(default=24, ge=1, description="pictures with a shorter side warn")


class DuplicatesConfig(Frozen):
    """Of copies. The same picture in two splits, or in both classes, always stops: it is a mistake at any number."""

    likeness: float = Field(
        default=0.95,
        ge=0.9,
        le=1,
        description="correlation of two pictures laid on each other, from which on they are copies",
    )
    stop_near_share: Share = Field(
        default=0.01, description="share of a split whose near copy lies in another split; one warns"
    )
    warn_within_share: Share = Field(default=0.01, description="share of pictures that are copies within their split")


class ShortcutsConfig(Frozen):
    """Of what tells the label without a look at what the picture shows."""

    warn_auroc: Auroc = Field(default=0.7, description="lower end of the interval of a model on such facts alone")
    stop_auroc: Auroc = Field(default=0.9, description="the same, of all fakes together; one generator's only warns")
    warn_pixels_auroc: Auroc = Field(
        default=0.8, description="of a model on brightness, colour and the like, which are partly content; never stops"
    )
    max_p: OpenShare = Field(default=0.05, description="a p-value above it is chance, whatever the figure")
    min_pictures: int = Field(default=20, ge=10, description="of each class; with fewer nothing is measured")
    max_pictures: int = Field(default=10_000, ge=100, description="of each class; of more, so many are drawn")
    num_folds: int = Field(default=5, ge=2, le=20)
    num_permutations: int = Field(default=49, ge=19, le=9999, description="of the labels, for the p-value")
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warn_auroc > self.stop_auroc:
            raise ValueError("shortcuts.warn_auroc is above shortcuts.stop_auroc")
        if self.max_p * (1 + self.num_permutations) < 1 - 1e-9:  # the least p-value there is
            raise ValueError(
                f"shortcuts.max_p={self.max_p:g} can't be reached with {self.num_permutations} "
                "shortcuts.num_permutations: nothing would ever be flagged"
            )
        return self


class AuditConfig(Frozen):
    """The data doctor's measures."""

    before_training: Literal["cheap", "full", "off"] = Field(
        default="cheap", description="cheap: what names, sizes, headers and file hashes tell; full: every picture, too"
    )
    on_stop: Literal["refuse", "warn"] = Field(
        default="refuse", description="what training does at a check that says stop"
    )
    integrity: IntegrityConfig = IntegrityConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    shortcuts: ShortcutsConfig = ShortcutsConfig()
