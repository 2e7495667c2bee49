"""What static/picture.css says of a shape, for drawings that no browser makes: colours (light), widths, dashes.

Read are rules of one or more classes with at most a tag before them; what depends on a state (":focus") or on a widget
is left out.  Later rules win among those with as many classes, as in CSS.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .svg import css

Declarations = dict[str, str]

_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_SELECTOR = re.compile(r"\.efimm (?:(\w+)(?=\.|$))?((?:\.[\w-]+)*)")
_VARIABLE = re.compile(r"(--[\w-]+):\s*light-dark\(([^,]+),")


@lru_cache(maxsize=256)
def look(tag: str, role: str) -> Declarations:
    """The declarations for a shape with the SVG element `tag` and the classes in `role`, variables resolved."""
    classes = set(role.split())
    found: Declarations = {}
    for _, wanted_tag, wanted, declared in sorted(_rules(), key=lambda rule: rule[0]):
        if wanted <= classes and wanted_tag in ("", tag):
            found |= declared
    return found


@lru_cache
def _rules() -> tuple[tuple[int, str, frozenset[str], Declarations], ...]:
    """(weight, tag, classes, declarations) of each rule that is read, in the order of the file."""
    plain = re.sub(r"/\*.*?\*/", "", css(), flags=re.DOTALL)
    variables = dict(_VARIABLE.findall(plain))
    rules = []
    for selectors, body in _RULE.findall(plain):
        for selector in selectors.split(","):
            match = _SELECTOR.fullmatch(selector.strip())
            if match and (match[1] or match[2]):
                classes = frozenset(match[2].split(".")) - {""}
                weight = 2 * len(classes) + bool(match[1])
                rules.append((weight, match[1] or "", classes, _declared(body, variables)))
    return tuple(rules)


def _declared(body: str, variables: Declarations) -> Declarations:
    pairs = (part.split(":", 1) for part in body.split(";") if ":" in part)
    return {name.strip(): _resolved(value.strip(), variables) for name, value in pairs}


def _resolved(value: str, variables: Declarations) -> str:
    return re.sub(r"var\((--[\w-]+)\)", lambda found: variables.get(found[1], found[0]), value)
