"""The technical claims of the thread of June 2012, each tried by running the model."""

from __future__ import annotations

from .claim import Claim, Finding, overview, report
from .thread import CLAIMS

__all__ = ["CLAIMS", "Claim", "Finding", "overview", "report"]
