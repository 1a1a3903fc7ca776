"""Frozen dataclasses from plain values (YAML, JSON), with every key and type checked on the way."""

import dataclasses
import difflib
import re
import sys
import types
import typing
from typing import Any

from handsynth.core.errors import HandsynthError

T = typing.TypeVar("T")

_ACCEPTED: dict[Any, tuple[type, ...]] = {float: (int, float), int: (int,), bool: (bool,), str: (str,)}
_NAMES = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}


def build(cls: type[T], values: Any, where: str, error: type[HandsynthError], prefix: str = "") -> T:
    """Fills dataclass `cls` from a mapping. `where` names the source in messages, `error` is what is raised.

    Understands nested dataclasses, tuples of fixed or any length, dictionaries with text keys, the four plain types, and each of
    them or None.
    """
    if not isinstance(values, dict):
        raise error(f"{where}: {prefix.rstrip('.') or 'the whole'} must be a mapping of keys to values, found {values!r:.60}")
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f" (did you mean {prefix}{close[0]}?)" if close else ""
            raise error(f"{where}: unknown key {f'{prefix}{key}'!r:.80}{hint}; known here: {', '.join(known)}")
    for f in fields:
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise error(f"{where}: key {prefix}{f.name} is missing")
    return cls(**{key: _convert(hints[key], value, where, error, prefix + key) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str, error: type[HandsynthError], key: str) -> Any:
    """One plain value as the type that the field declares."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # X | None
        return None if value is None else _convert(arguments[0], value, where, error, key)
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where, error, key + ".")
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise error(f"{where}: {key} must be a mapping of names to values, found {value!r:.60}")
        return {k: _convert(arguments[1], v, where, error, f"{key}.{k}") for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise error(f"{where}: {key} must be a list, found {value!r:.60}")
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], v, where, error, key) for v in value)
        if len(value) != len(arguments):
            raise error(f"{where}: {key} must be a list of {len(arguments)}, found {value!r:.60}")
        return tuple(_convert(a, v, where, error, key) for a, v in zip(arguments, value, strict=True))
    good = isinstance(value, _ACCEPTED[hint]) and isinstance(value, bool) == (hint is bool)
    if good and hint is float:
        good = abs(value) <= sys.float_info.max  # neither NaN, nor infinite, nor a whole number too long for a float
    if not good:
        raise error(f"{where}: {key} must be {_NAMES[hint]}, found {value!r:.60}{_advice(hint, value)}")
    return hint(value)


def _advice(hint: Any, value: Any) -> str:
    """YAML 1.1 asks for a dot in a number with an exponent, which most people do not know."""
    written = isinstance(value, str) and re.fullmatch(r"([+-]?\d+)[eE]([+-]?\d+)", value)
    return f" (YAML takes that for text: write {written[1]}.0e{int(written[2]):+d})" if hint is float and written else ""
