"""What a judge cannot do, in one line for the person who asked."""

from __future__ import annotations


class JudgeError(ValueError):
    """The question could not be put to the firmware, or got no answer; the message says why in one line."""


class NotInstalledError(JudgeError):
    """A program or a firmware file is not on this computer; the message names the Debian packages that bring them."""
