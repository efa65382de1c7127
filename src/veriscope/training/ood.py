"""The end of a run: what tells how strange a picture is to the network, from val alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console

from veriscope.bundle.scorer import Scored
from veriscope.config.schema import RunConfig
from veriscope.data.manifest import Manifest
from veriscope.errors import ModelError
from veriscope.models.ood import Ood, OutOfDistribution, ranks_among_themselves
from veriscope.models.ood_fit import choose_pictures, fit_reference
from veriscope.progress import say
from veriscope.types import Split


def only_what_is_fitted_on(answers: Iterable[Scored], *, count: int, seed: int) -> Iterator[Scored]:
    """Yield the answers, their vectors only where the fit will read them: memory stays bounded for any val."""
    chosen = set(choose_pictures(count, seed=seed).tolist())
    for index, answer in enumerate(answers):
        yield answer if index in chosen else replace(answer, vectors=None)


def fit_ood(
    config: RunConfig, val: Manifest, scored: Sequence[Scored], *, console: Console
) -> tuple[Ood | None, list[Scored]]:
    """Return what `ood` asks for, and the answers with their own `ood`, each among the others, instead of vectors.

    What can't be fitted (a val of a few pictures) is said on the console and ends no run.

    Raises:
        ValueError: `val` holds pictures of the test.

    """
    if np.any(val.splits == Split.TEST.value):
        raise ValueError("the out-of-distribution score is fitted on val, these pictures are the test")
    plain = [replace(answer, vectors=None) for answer in scored]
    if config.ood.method == "none":
        return None, plain
    rows = [index for index, answer in enumerate(scored) if _is_usable(answer)]
    groups = val.group_codes
    try:
        if not rows:
            raise ModelError("no picture of val has a vector of finite numbers.")
        fitted = fit_reference(
            np.stack([vectors[0] for index in rows if (vectors := scored[index].vectors) is not None]),
            labels=val.labels[rows],
            method=config.ood.method,
            k=config.ood.k,
            groups=None if groups is None else groups[rows],
            seed=config.seed,
        )
    except ModelError as error:
        say(console, f"The bundle gets no out-of-distribution score: {error}")
        return None, plain
    own = ranks_among_themselves(fitted.reference.distances, fitted.own_distances)
    for index, value in zip(rows, own.tolist(), strict=True):
        plain[index] = replace(plain[index], ood=value)
    ood = Ood(
        reference=OutOfDistribution((fitted.reference,)),
        method=config.ood.method,
        threshold=config.ood.threshold,
        fitted_on=f"{config.data.name} val",
    )
    needed = ood.pictures_needed
    if needed is not None and len(rows) < needed:
        say(
            console,
            f"val has {len(rows)} pictures: ood.threshold={ood.threshold:g} is reached by nothing with fewer than "
            f"{needed}, so no verdict will read 'unsure' for being strange.",
        )
    return ood, plain


def _is_usable(answer: Scored) -> bool:
    return answer.vectors is not None and answer.logit is not None and bool(np.isfinite(answer.vectors[0]).all())
