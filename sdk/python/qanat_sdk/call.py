"""Calling a connector's methods with the arguments of a request: those that a method takes; others are an error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


class ParameterError(Exception):
    """A request has parameters that do not fit."""


class Method:
    """A method and what it takes: perhaps one value by position, and arguments by name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.name = getattr(function, "__name__", "the method")
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # a callable that does not tell: it gets everything
            parameters = [inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)]
            parameters.append(inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD))
        self._takes_value = bool(parameters) and parameters[0].kind in _POSITIONAL
        rest = parameters[1:] if self._takes_value else parameters
        self._value_name = parameters[0].name if self._takes_value else None
        self._takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in rest)
        self._named = {parameter.name: parameter for parameter in rest if parameter.kind in _NAMED}

    def takes(self, name: str) -> bool:
        return self._takes_any or name in self._named

    def names(self, name: str) -> bool:
        """Whether it has a parameter of this very name."""
        return name in self._named

    def check(self, arguments: Mapping[str, Any], reserved: Mapping[str, Any]) -> None:
        """ParameterError where an argument is not taken, or one that is needed is not given."""
        for name in arguments:
            if not self.takes(name) or name == self._value_name:
                known = [known for known in self._named if not known.startswith("_")]
                told = f"it takes {', '.join(known)}" if known else "it takes none"
                raise ParameterError(f'{self.name}() takes no argument "{name}"; {told}')
        for name, parameter in self._named.items():
            if parameter.default is parameter.empty and name not in arguments and name not in reserved:
                raise ParameterError(f'{self.name}() needs the argument "{name}"')

    def __call__(self, value: Any, arguments: Mapping[str, Any], reserved: Mapping[str, Any] | None = None) -> Any:
        offered = {name: given for name, given in (reserved or {}).items() if self.takes(name)}
        self.check(arguments, offered)
        positional = (value,) if self._takes_value else ()
        return self._function(*positional, **arguments, **offered)

    def describe(self, properties: dict[str, Any], required: list[str]) -> bool:
        """Add its arguments to a JSON Schema's parts; whether it takes others too."""
        for name, parameter in self._named.items():
            if name.startswith("_"):
                continue
            described: dict[str, Any] = {"type": "string"}
            if isinstance(parameter.default, str):
                described["default"] = parameter.default
            properties.setdefault(name, described)
            if parameter.default is parameter.empty and name not in required:
                required.append(name)
        return self._takes_any


def describe(connector: Any, capabilities: frozenset[str]) -> dict[str, Any]:
    """What a connector says of itself: its own word on its arguments, or what the parameters of its methods tell."""
    arguments = getattr(connector, "arguments", None)
    if arguments is None:
        properties: dict[str, Any] = {}
        required: list[str] = []
        functions = (connector.discover, connector.data)
        more = [Method(function).describe(properties, required) for function in functions]
        arguments = {"type": "object", "properties": properties, "additionalProperties": all(more)}
        if required:
            arguments["required"] = required
    return {
        "name": type(connector).__name__,
        "arguments": dict(arguments),
        "capabilities": sorted({"limit", "pages", "projection"} | capabilities),
    }
