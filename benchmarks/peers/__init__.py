"""The walkers that efimm is measured against: each file here gives one of them the image, and asks it its own way."""

from __future__ import annotations

from . import drgn, textbook, unicorn, volatility3
from .peer import Absent, Peer, Ready, start

PEERS = (textbook.PEER, unicorn.PEER, drgn.CALLBACK, drgn.VMCORE, volatility3.PEER)

__all__ = ["PEERS", "Absent", "Peer", "Ready", "start"]
