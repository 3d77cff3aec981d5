"""One page in one file: the template with its style and script inside, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from monai_lung.extras import require

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, *, scripts: tuple[str, ...] = (), **content: Any) -> str:
    """Fill a template of this folder; whatever the content holds is text, never markup.

    Args:
        template: its name.
        scripts: names of scripts that run after the one that every page has.
        content: what the template asks for.

    Raises:
        UsageError: jinja2 isn't installed.
    """
    parts = {name: _read(name.replace("_", ".")) for name in ("page_css", "dark_css", "page_js")}
    environment = _environment()
    markup = require("markupsafe", "report.html").Markup
    own = [_read(name) for name in scripts]
    page = environment.get_template(template).render(
        **{name: markup(text) for name, text in parts.items()},
        scripts=[markup(text) for text in own],
        policy=_policy(styles=[parts["page_css"], parts["dark_css"]], scripts=[parts["page_js"], *own]),
        **content,
    )
    return page + "\n"


@functools.cache
def _environment() -> Environment:
    """Made once: it keeps the compiled templates."""
    jinja2 = require("jinja2", "report.html")
    environment: Environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["zip"] = zip
    return environment


def _read(name: str) -> str:
    return resources.files("monai_lung.report.html").joinpath(name).read_text(encoding="utf-8").strip()


def _policy(styles: list[str], scripts: list[str]) -> str:
    """A content security policy that allows exactly these texts and embedded pictures, and no request at all."""
    style, script = (" ".join(f"'sha256-{_digest(text)}'" for text in texts) for texts in (styles, scripts))
    return (
        f"default-src 'none'; img-src data:; style-src {style}; script-src {script}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
