"""What every peer looks like to the benchmark, and how one is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from time import process_time

from ..image import Image

# A list of addresses in, a list of physical addresses out; None where the peer finds no translation.
Translate = Callable[[list[int]], list[int | None]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A walker by other people.

    `name` is also that of its distribution, unless it is `ours`; `variant` tells two ways to use one of them apart.
    `how` is the call that is measured, and `times` how many times faster an array walk of efimm is to be.
    """

    name: str
    how: str
    times: float
    load: Callable[[Image], Translate]
    variant: str = ""
    ours: bool = False

    @property
    def title(self) -> str:
        """The name with the installed version."""
        words = [self.name, "" if self.ours else version(self.name), self.variant]
        return " ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Ready:
    """A peer with the image loaded; `setup` is what the loading took, in CPU seconds, imports included."""

    peer: Peer
    title: str
    setup: float
    translate: Translate


@dataclass(frozen=True, slots=True)
class Absent:
    """A peer that takes no part, and why."""

    peer: Peer
    reason: str

    @property
    def title(self) -> str:
        """The name; there may be no version."""
        return " ".join(filter(None, [self.peer.name, self.peer.variant]))


def start(peer: Peer, image: Image) -> Ready | Absent:
    """`peer` with `image` loaded.  Never raises: a peer that is missing, or has changed, is an `Absent`."""
    began = process_time()
    try:
        title, translate = peer.title, peer.load(image)
    except ImportError as error:  # its metadata or one of its modules
        return Absent(peer, f"not installed: {error}")
    except Exception as error:  # its calls are private in part: whatever a new version raises is the reason
        return Absent(peer, f"{type(error).__name__}: {error}")
    return Ready(peer, title, process_time() - began, translate)
