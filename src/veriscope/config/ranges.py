"""Kinds of numbers that configurations share."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from veriscope.types import Positive

Number = TypeVar("Number", int, float)
NotNegative = Annotated[float, Field(ge=0)]
Percent = Annotated[int, Field(ge=1, le=100)]
Probability = Annotated[float, Field(ge=0, le=1)]


def _ordered(values: tuple[Number, Number]) -> tuple[Number, Number]:
    if values[0] > values[1]:
        raise ValueError(f"the lowest value comes first: [{values[1]}, {values[0]}]")
    return values


Range = Annotated[
    tuple[NotNegative, NotNegative],
    AfterValidator(_ordered),
    Field(description="lowest and highest value, drawn uniformly between"),
]
Factors = Annotated[tuple[Positive, Positive], AfterValidator(_ordered), Field(description="of both sides")]
Quality = Annotated[tuple[Percent, Percent], AfterValidator(_ordered), Field(description="lowest and highest quality")]
