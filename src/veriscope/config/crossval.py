"""How a cross-validation runs its folds."""

from pydantic import Field

from veriscope.types import Frozen


class CrossvalConfig(Frozen):
    """How a cross-validation (split=kfold without split.fold) runs its folds."""

    workers: int | None = Field(
        default=None, ge=1, description="folds side by side; null: as many as the GPUs allow, on the CPU one"
    )
    ensemble: bool = Field(default=False, description="also ship one bundle that averages the folds' logits")
