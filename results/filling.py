"""Filling the page templates: one environment for every HTML page, in which all that comes from data is escaped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from results import formats
from results.rows import ResultsError

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def fill(template: str, **content: object) -> str:
    """The page that ``template``, a file of TEMPLATES, makes of ``content``. ResultsError: it cannot be read."""
    import jinja2

    try:
        return environment().get_template(template).render(**content)
    except jinja2.TemplateError as error:
        raise ResultsError(f"{TEMPLATES}: {error}; reinstall the package") from error


def environment() -> jinja2.Environment:
    """Templates with the filters ``value``, ``interval`` and ``breakable``; a name that is not given is an error."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"value": formats.value, "interval": formats.interval, "breakable": _breakable}
    return made


def _breakable(name: str):
    """``name``, escaped, with places where a narrow column may break it."""
    import markupsafe

    pieces = re.split(r"(?<=[_/.-])", name)
    return markupsafe.Markup("<wbr>").join(markupsafe.escape(piece) for piece in pieces)
