"""Frozen dataclasses as settings: set a field by its dotted name, compare two, and read one back from JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")


class SettingsError(ValueError):
    """A name, field or value that does not exist; the message is one line and lists what does."""


def assign(settings: Settings, *assignments: str) -> Settings:
    """``settings`` with each ``section.field=value`` set, the value read as the field's type.

    Raises SettingsError for a field that is none (the known ones are listed) or a value of another kind.
    """
    for text in assignments:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise SettingsError(f"'{text}': write section.field=value")
        settings = _assign(settings, path, path.split("."), value)
    return settings


def differences(one: Any, other: Any) -> list[str]:
    """Fields that differ between two settings of one class: "field: a, not b", nested ones by dotted names."""
    found = []
    for f in fields(one):
        a, b = getattr(one, f.name), getattr(other, f.name)
        if is_dataclass(a):
            found += [f"{f.name}.{line}" for line in differences(a, b)]
        elif a != b:
            found.append(f"{f.name}: {a!r}, not {b!r}")
    return found


def rebuild(cls: type[Settings], data: dict, path: str = "") -> Settings:
    """What ``dataclasses.asdict`` and JSON made of a ``cls``. SettingsError for a field that is not known here.

    A field that ``data`` lacks has come in since, and takes its default: a new field's default is what was done before.
    """
    hints, known = get_type_hints(cls), {f.name for f in fields(cls)}
    if odd := ", ".join(path + name for name in sorted(set(data) - known)):
        raise SettingsError(f"settings of a later version: {odd} not known here; update fctfg")
    values = {}
    for name, value in data.items():
        if is_dataclass(hints[name]):
            value = rebuild(hints[name], value, f"{path}{name}.")
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return cls(**values)


def _assign(node: Any, path: str, steps: list[str], value: str) -> Any:
    known = [f.name for f in fields(node)]
    if steps[0] not in known:
        raise SettingsError(f"no field '{path}'; there are {', '.join(known)}")
    current = getattr(node, steps[0])
    if len(steps) > 1:
        if not is_dataclass(current):
            raise SettingsError(f"no field '{path}': {steps[0]} has no parts")
        return dataclasses.replace(node, **{steps[0]: _assign(current, path, steps[1:], value)})
    if is_dataclass(current):
        raise SettingsError(f"'{path}' is a section; set one of {', '.join(f.name for f in fields(current))}")
    return dataclasses.replace(node, **{steps[0]: _parse(get_type_hints(type(node))[steps[0]], path, value)})


def _parse(kind: Any, path: str, text: str) -> Any:
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise SettingsError(f"{path}={text}: choose from {', '.join(get_args(kind))}")
        return text
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](part) for part in text.strip("()").split(",") if part.strip())
        return kind(text)
    except (ValueError, KeyError):
        raise SettingsError(f"{path}={text}: not a {getattr(kind, '__name__', kind)}") from None
