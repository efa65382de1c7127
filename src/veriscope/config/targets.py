"""Third-party leaves named by import path: the one place that turns a string into a class."""

import importlib
import inspect
from typing import Any

from pydantic import ConfigDict, Field

from veriscope.errors import ConfigError, nearest
from veriscope.types import Frozen

# A configuration is often somebody else's file: it must not be able to name os.system.
ALLOWED_PREFIXES = ("pytorch_lightning.callbacks.",)


class TargetSpec(Frozen):
    """A third-party leaf: a class named by its import path, with keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)
    target: str = Field(alias="_target_", min_length=3)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments."""
        return dict(self.__pydantic_extra__ or {})


def resolve(spec: TargetSpec, *, key: str) -> tuple[type[Any], dict[str, Any]]:
    """Return the class that `spec` names and its arguments, bound against the signature but not yet called.

    Raises:
        ConfigError: the name lies outside the allowed packages, doesn't exist, or takes no such argument.

    """
    if not spec.target.startswith(ALLOWED_PREFIXES):
        raise ConfigError(
            f"{key}._target_={spec.target!r} is not allowed; it must start with {', '.join(ALLOWED_PREFIXES)}"
        )
    module_name, _, class_name = spec.target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{key}._target_={spec.target!r}: {error}") from None
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise ConfigError(f"{key}._target_: {module_name} has no class '{class_name}'. {nearest(class_name, classes)}")
    signature = inspect.signature(found)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    for name in spec.arguments:
        if not takes_any and name not in signature.parameters:
            raise ConfigError(f"{key}.{name} is no argument of {spec.target}. {nearest(name, signature.parameters)}")
    try:
        signature.bind(**spec.arguments)
    except TypeError as error:
        raise ConfigError(f"{key}: {spec.target}: {error}") from None
    return found, spec.arguments
