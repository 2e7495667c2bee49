"""Roles and colours: the one table of how shapes look, from which the style sheet of all pictures is written.

Colours are after Okabe and Ito: told apart by hue, by lightness, and where areas touch by hatching.  What stands around
a picture (the page, controls, the focus) is in static/controls.css, which uses the same colours and names no role.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

Declarations = dict[str, str]

STATIC = Path(__file__).parent / "static"

# Each colour in the light and in the dark theme; tests/show/test_pictures.py computes the contrast of both.
COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15181b"),
    "ink": ("#16191c", "#e9ecef"),
    "muted": ("#565d64", "#aab2ba"),
    "rule": ("#c3c9cf", "#49525a"),
    "edge": ("#767e86", "#8a939c"),
    "ram": ("#cdd3d8", "#4a535b"),
    "identity": ("#0072b2", "#2d8fd0"),
    "identity-tint": ("#d9eaf6", "#10324a"),
    "direct": ("#56b4e9", "#8ed3f7"),
    "direct-tint": ("#e8f5fd", "#1d3f51"),
    "kernel": ("#cc79a7", "#cc79a7"),
    "kernel-tint": ("#f8eaf2", "#40283a"),
    "shared": ("#e69f00", "#e69f00"),
    "array": ("#f0e442", "#f0e442"),
    "firmware": ("#007a59", "#2fc79c"),
    "fault": ("#c45500", "#ff8a3d"),
    "fault-text": ("#9a4300", "#ffa366"),
    "fault-tint": ("#fff3ea", "#2c1d12"),
    "focus": ("#0b57d0", "#9ec3ff"),
}
_BLACK = "#16191b"  # on a ground that is the same in both themes; by a shade no "ink", which is not


def _each(role: str, what: str, **colours: str) -> dict[str, Declarations]:
    """The variants of a role, which differ in the colour of `what`."""
    return {f"{role}.{variant}": {what: colour} for variant, colour in colours.items()}


def _line(colour: str, width: str, **more: str) -> Declarations:
    """What is drawn as a line only; further declarations with "_" for "-"."""
    names = {name.replace("_", "-"): value for name, value in more.items()}
    return {"fill": "none", "stroke": colour, "stroke-width": width} | names


# A role is an SVG element, if it matters, and one class or more.  Colours are named; of two rules, the one with more
# classes wins, and of equals the later one, as in CSS.
ROLES: Mapping[str, Declarations] = {
    "text": {"fill": "ink", "font-size": "12px"},
    "text.far": {"font-size": "21px", "font-weight": "700"},
    "text.head": {"font-size": "14px", "font-weight": "700"},
    "text.strong": {"font-weight": "700"},
    **_each("text", "fill", muted="muted", faulttext="fault-text", consolehead="#b8c0c8", consoletext="#f2f4f6"),
    **_each("text", "text-anchor", end="end", middle="middle"),
    "text.mono": {"font-family": 'ui-monospace, "DejaVu Sans Mono", monospace'},
    # memory
    ".hole": {"fill": "paper"},
    ".ram": {"fill": "ram"},
    ".outline": {"fill": "none", "stroke": "edge", "pointer-events": "none"},
    ".foldline": {"stroke": "edge", "stroke-width": "0.8"},
    ".line512": {"stroke": "ink", "stroke-width": "1.2", "stroke-dasharray": "7 4"},
    ".array": {"fill": "array", "stroke": _BLACK, "stroke-width": "1.8"},
    ".tick": {"fill": "firmware", "stroke": "paper", "stroke-width": "0.8"},
    ".target": _line("firmware", "2.2"),
    # the table
    ".slot": {"stroke": "edge", "stroke-width": "0.8"},
    **_each(".slot", "fill", identity="identity-tint", direct="direct-tint", kernel="kernel-tint", other="paper"),
    **_each(".swatch", "fill", kernel="kernel", other="edge"),
    ".swatch.identity": {"fill": "identity", "fill-opacity": "0.5"},
    ".swatch.direct": {"fill": "direct", "fill-opacity": "0.6"},
    ".empty": {"fill": "none", "stroke": "rule", "stroke-dasharray": "2 3"},
    ".gap": {"fill": "fault-tint", "stroke": "fault", "stroke-width": "2", "stroke-dasharray": "6 4"},
    ".asked": _line("ink", "2.2", pointer_events="none"),
    ".fresh": {"fill": "ink"},
    ".band": {"stroke": "none", "fill-opacity": "0.42"},
    **_each(".band", "fill", identity="identity", other="edge"),
    ".band.direct": {"fill": "direct", "fill-opacity": "0.5"},
    ".hatch": {"pointer-events": "none"},
    ".hatch-identity": _line("identity", "1.7"),
    ".hatch-direct": _line("direct", "1"),
    ".thread": _line("kernel", "1.6", stroke_opacity="0.75"),
    ".stem": {"fill": "edge", "fill-opacity": "0.45"},
    ".node": {"fill": "paper", "stroke": "edge", "stroke-width": "1.2"},
    ".node.shared": {"fill": "shared", "stroke": _BLACK},
    # who asks
    ".panel": {"fill": "none", "stroke": "edge"},
    ".panel.nobody": {"stroke-dasharray": "3 4"},
    **_each(".edge", "fill", firmware="firmware", kernel="ink"),
    ".console": {"fill": _BLACK, "stroke": "edge"},
    ".arrow": {"fill": "none", "stroke-width": "2.6", "stroke-linejoin": "round"},
    **_each(".arrow", "stroke", firmware="firmware", kernel="ink", fault="fault"),
    ".arrow.pending": {"stroke-dasharray": "3 5"},
    **_each(".head-of", "fill", firmware="firmware", kernel="ink", fault="fault"),
    ".cross": _line("fault", "3.4", stroke_linecap="round"),
    # the story so far
    ".lane": {"stroke": "rule", "stroke-width": "1"},
    ".string": _line("rule", "2"),
    ".string.done": {"stroke": "ink", "stroke-width": "2.4"},
    ".bead": {"stroke": "ink", "stroke-width": "1.5"},
    **_each(".bead", "fill", kernel="ink", firmware="firmware", fault="fault"),
    ".bead.never": {"fill": "paper", "stroke": "fault", "stroke-width": "1.8", "stroke-dasharray": "2.5 2.5"},
    ".bead.later": {"fill": "paper", "stroke": "muted"},
    ".here": {"fill": "paper", "stroke": "ink", "stroke-width": "2"},
    ".row": {"fill": "transparent"},
    ".now": {"fill": "identity-tint"},
    # the gauntlet
    ".verdict-ok": {"fill": "direct-tint", "stroke": "firmware", "stroke-width": "1"},
    ".verdict-wrong": {"fill": "kernel-tint", "stroke": "kernel", "stroke-width": "1.4"},
    ".verdict-refused": {"fill": "paper", "stroke": "identity", "stroke-width": "1.4"},
    # a machine's map: each kind has its hatching
    ".area": {"stroke": "edge", "stroke-width": "0.6"},
    **_each(".area", "fill", reserved="kernel-tint", acpi="shared", mmio="direct-tint", code="firmware", data="paper"),
    ".area.none": {"fill": "none", "stroke": "rule", "stroke-dasharray": "2 3"},
    ".hatch-reserved": _line("kernel", "1.4"),
    ".hatch-acpi": _line(_BLACK, "1"),
    ".hatch-mmio": _line("identity", "1.2"),
    ".hatch-runtime": _line("firmware", "2"),
    ".zoomline": _line("edge", "1"),
    # the walk: what a bit is shows in its outline, too
    ".bit": {"fill": "paper", "stroke": "edge", "stroke-width": "1"},
    ".bit.set": {"fill": "ram"},
    ".bit.index": {"fill": "identity-tint", "stroke": "identity"},
    ".bit.address": {"fill": "direct-tint", "stroke": "identity"},
    ".bit.software": {"fill": "kernel-tint", "stroke": "kernel"},
    **_each(".bit", "stroke-dasharray", ignored="1.5 3", unreached="1.5 3", reserved="7 3"),
    ".bit.stops": {"fill": "fault-tint", "stroke": "fault", "stroke-width": "2.6", "stroke-dasharray": "6 4"},
    ".bit.end": {"fill": "none", "stroke-dasharray": "none", "stroke-width": "1.6"},
    ".bit.good": {"stroke": "firmware"},
    ".lead": _line("identity", "1.6"),
    ".lead-head": {"fill": "identity"},
}


@lru_cache
def css() -> str:
    """The style sheet of all pictures: colours, what stands around a picture, and every role."""
    colours = "\n".join(f"  --{name}: light-dark({light}, {dark});" for name, (light, dark) in COLOURS.items())
    roles = "\n".join(f".efimm {role} {{ {_written(declared)} }}" for role, declared in ROLES.items())
    around = (STATIC / "controls.css").read_text(encoding="utf-8")
    return f".efimm {{\n{colours}\n}}\n{around}\n{roles}\n"


def _written(declared: Declarations) -> str:
    return "; ".join(f"{name}: {f'var(--{value})' if value in COLOURS else value}" for name, value in declared.items())


@lru_cache(maxsize=256)
def look(tag: str, role: str) -> Declarations:
    """The declarations for a shape with the SVG element `tag` and the classes in `role`, in the light theme's colours.

    For drawings that no browser makes; "text-anchor" and fonts are there as in the style sheet.
    """
    classes, found = set(role.split()), []
    for known, declared in ROLES.items():
        wanted_tag, *wanted = known.split(".")
        if classes.issuperset(wanted) and wanted_tag in ("", tag):
            found.append((2 * len(wanted) + bool(wanted_tag), declared))
    won = [pair for _, declared in sorted(found, key=lambda rule: rule[0]) for pair in declared.items()]
    return {name: COLOURS[value][0] if value in COLOURS else value for name, value in won}
