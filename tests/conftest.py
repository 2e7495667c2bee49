"""What several test files share: page tables written entry by entry, by nobody but the test, and the logs as files."""

import importlib.util
import os
import signal
import sys

import pytest
from captures import listings
from hypothesis import HealthCheck, settings

sys.modules.setdefault("rfc3987_syntax", None)  # as efimm.cli.notebooks, for what the tests themselves import

if importlib.util.find_spec("nbmake"):
    import nbmake.nb_run

    from efimm.course.export import Client

    nbmake.nb_run.NotebookClient = Client  # nbclient's own may wait for five minutes where a cell uses `interact`

# How long an example takes is the machine's matter, and a busy one may take hundreds of times as long.
settings.register_profile("efimm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("efimm")

# Where Python is told to keep no compiled files, each of the many processes that tests start would compile all anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Started in the background, as a CI server does, Python and all that it starts ignore these; tests are about them.
for name, usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)  # Windows has no SIGHUP
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

ROOT = 0x1000


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked `nightly` without EFIMM_NIGHTLY; pytest's last line says how many.

    Files with something `slow` come first: `make test` gives whole files to several workers, and none of them is to
    have a long one left when the others are done.
    """
    left_out = [] if os.environ.get("EFIMM_NIGHTLY") else [item for item in items if is_marked(item, "nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not is_marked(item, "nightly")]
    slow = {item.path for item in items if is_marked(item, "slow")}
    items.sort(key=lambda item: item.path not in slow)


def is_marked(item, name):
    return item.get_closest_marker(name) is not None


@pytest.fixture
def chain():
    """A function that writes one entry of each level for `va`, from the table at `root` down.

    Each entry's bits 51..12 say where the next table is.  The result is where the entries were written.
    """

    def write(memory, va, *entries, root=ROOT):
        places = []
        for shift, entry in zip((39, 30, 21, 12), entries, strict=False):
            place = root + 8 * (va >> shift & 511)
            memory.write(place, entry.to_bytes(8, "little"))
            places.append(place)
            root = entry & 0x000F_FFFF_FFFF_F000
        return places

    return write


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    """A folder with the logs of other people's machines (`listings`), each a file of its name."""
    folder = tmp_path_factory.mktemp("logs")
    for name, printed in listings().items():
        (folder / name).write_text(printed, encoding="utf-8", newline="\n")
    return folder
