"""Own backbones and heads by name, and the check of a user's options against a constructor's signature."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from veriscope.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch import nn

    from veriscope.models.heads import Head

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one kind by name. A second name is refused, an unknown one is answered with the nearest."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a class decorator that files the class under `name`.

        Raises:
            ModelError: the name is taken; the text names both modules.

        """

        def add(cls: type[T]) -> type[T]:
            taken = self._classes.get(name)
            if taken is not None:
                raise ModelError(
                    f"{self.kind} '{name}' is registered twice: by {taken.__module__} and by {cls.__module__}. "
                    "Rename one of them."
                )
            self._classes[name] = cls
            return cls

        return add

    def __getitem__(self, name: str) -> type[T]:
        """Return the class of that name.

        Raises:
            ModelError: unknown name; the text holds the nearest names and the list.

        """
        if name not in self._classes:
            known = ", ".join(sorted(self._classes))
            raise ModelError(
                f"model.{self.kind}.name '{name}' is unknown. {nearest(name, self._classes)} All of them: {known}."
            )
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))


BACKBONES: "Registry[nn.Module]" = Registry("backbone")
HEADS: "Registry[Head]" = Registry("head")


def check_options(cls: type, options: Mapping[str, Any], *, what: str, place: str) -> None:
    """Bind a user's options against the keyword-only arguments of `cls`, names and types, without building anything.

    Args:
        cls: the class; its options are the keyword-only arguments of its constructor, with annotations.
        options: the user's values by name.
        what: for the error text, as "head 'texture'".
        place: for the error text, where the options stand, as "model.head".

    Raises:
        ModelError: an unknown, missing or ill-typed option; the text names the key, the place and the nearest key.

    """
    parameters = option_parameters(cls)
    for key in options:
        if key not in parameters:
            raise ModelError(f"{place}.{key} is not an argument of {what}. {nearest(key, parameters)}")
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in options:
            raise ModelError(f"{place}.{key} is required by {what} and missing.")
    annotations = get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]  # reads, never calls
    for key, value in options.items():
        try:
            TypeAdapter(annotations[key]).validate_python(value, strict=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ModelError(f"{place}.{key}={value!r} does not fit {what}: {reason}.") from None


def option_parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Return the keyword-only arguments of the constructor, in order."""
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
