"""How a run's bundle learns to tell what it has never seen."""

from typing import Literal

from pydantic import Field

from veriscope.types import Frozen


class OodConfig(Frozen):
    """The out-of-distribution score of a bundle, fitted on val."""

    method: Literal["knn", "mahalanobis", "none"] = Field(
        default="knn",
        description="distance to the k-th nearest val picture, or to the classes' centres; none: none",
    )
    k: int = Field(default=10, ge=1, description="which neighbour counts, of knn")
    threshold: float = Field(
        default=0.99, gt=0.5, le=1, description="stranger than this share of val reads 'unsure'; 1: nothing does"
    )
