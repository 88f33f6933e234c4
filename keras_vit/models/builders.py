"""What the functions that draw a family's graph share."""

import inspect
from collections.abc import Callable
from typing import Any


def passes_on(to: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: the `**rest` of a builder are the keyword-only arguments of `to`.

    `help`, and `load` with its errors, then show one signature.
    """

    def decorate(builder: Callable[..., Any]) -> Callable[..., Any]:
        own = [p for p in inspect.signature(builder).parameters.values() if p.kind != p.VAR_KEYWORD]
        names = {parameter.name for parameter in own}
        rest = [
            parameter
            for parameter in inspect.signature(to).parameters.values()
            if parameter.kind == parameter.KEYWORD_ONLY and parameter.name not in names
        ]
        vars(builder)["__signature__"] = inspect.Signature([*own, *rest])
        return builder

    return decorate
