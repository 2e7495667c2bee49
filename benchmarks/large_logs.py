"""`python -m benchmarks.large_logs [MB ...]`: much plain text that nearly is a log, for `efimm check` and `efimm map`.

Each kind is a page of near misses, repeated: what the readers look at line by line, and never get to like.  Printed are
the processor time, the largest memory and the answer.  Of 200 MB, which are taken without MB, no more than 60 s and
200 MB of memory are wanted; of several sizes, such as 1 10 100, a time that grows as the size does, or less.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000
SIZE = 200 * MEGABYTE
_PAGE = 1 << 20
_E820 = "BIOS-e820: [mem 0x{start:016x}-0x{end:016x}] usable"
_EFI = "efi: mem{number:02d}: type=7, attr=0xf, range=[0x{start:016x}-0x{after:016x}) (1MB)"


def _lists(form: str, entries: int) -> str:
    """Lines of a list whose entries lie one behind the other."""
    ranges = [(number, number << 20, (number + 1) << 20) for number in range(entries)]
    return "".join(form.format(number=n, start=start, end=end - 1, after=end) + "\n" for n, start, end in ranges)


# What is repeated until there are 200 MB of it; a page without a line break makes one enormous line.
KINDS = {
    "one line": "BIOS-e820: [mem 0x" + "f" * 1000,
    "e820 without a type": _lists(f"[    0.000000] {_E820[:-6]}usablex", 90),
    "e820 with a letter in it": _lists("[    0.000000] BIOS-e820: [mem 0x{start:015x}g-0x{end:016x}] usable", 90),
    "e820, each entry the first of a list": _lists(_E820, 1),
    "EFI lists printed again and again": _lists(_EFI, 100),
    "entries cut in the middle": "BIOS-e820: [mem 0x00000000\n00001000-0x\nefi: mem00: type=7, at\n",
    "entries run together": ("BIOS-e820: [" * 4000 + "\n") + ("efi: mem00: " * 4000 + "\n"),
    "stamps inside of stamps": _lists("[    0.0[    0.000001]00000] BIOS-e820: [[    0.000002] mem 0x{start:x}-", 90),
    "quoted a thousand times": (("> " * 1000 + _E820 + "\n") + (">|" * 1000 + "efi: mem00: type\n")),
    "tags that never end": ("<b" * 30_000 + "\n") + ("<br " * 15_000 + "\n") + ("</a " + " " * 400) * 100 + "\n",
    "entities": "x&#0;&#x10ffff;&nbsp;&lt;b&gt;&#1114112;" * 1000 + "\n",
    "colours that never end": ("\x1b[" + "0;" * 30_000 + "\n") + ("\x1b" * 60_000 + "\n"),
    "oopses that begin": "BUG: unable to handle kernel paging request at \nIP: [<\nPGD \nCall Trace:\n ? +0x1/0x\n",
    "one oops that goes on": "Oops: 0000 [#1\n x+0x1/0x\nRAX: 000000000000000\nCR2: 000000000000\nPGD 0 P4D 0 PUD \n",
    "/proc/iomem, deeper and deeper": "".join(f"{' ' * n}0000000{n % 10}-0000001: System RAM\n" for n in range(300)),
    "the shell's table, damaged": "Available  0000000000000000-0000000000000FFF 000000000000000G 000000000000000F\n",
    "Xen, FreeBSD and memattr": "(XEN)  0000000000000000 - 00000000000g0000 (usable)\nSMAP type=01 base=00000000000\n"
    "0x0000000000001000 - 0x000000000009efff, 647168 bytes (158 pages\nefi: memattr: 0x00000000-0x1 [RUN|\n",
    "bytes that are no text": b"\xff\xa0\xc2\xa0\xe2\x80\xad BIOS-e820: [mem\xa00x0".decode("utf-8", "surrogateescape")
    + "\n",
    "boots without a list": "Linux version 3.5.0 (a@b) (gcc) #1 SMP\nCommand line: memmap=1G@1G,\nDMI: x\n",
    "MEMATTR without a number": "efi: " * 13_000 + "MEMATTR=0x\n",
    "nearly an entry of many lists": "0x00000000 EFI = = = = = = = = = = 0000000000000000-000000000000000 (XEN)\n",
    "letters": "the quick brown fox jumps over the lazy dog, and the memory of it is \n",
}


@dataclass(frozen=True)
class Answer:
    """What a command made of a file: its exit status and last line, seconds of processor time, MB at most."""

    status: int
    said: str
    seconds: float
    megabytes: float


def write(kind: str, path: Path, size: int = SIZE) -> None:
    """A file of `size` bytes of one kind."""
    one = KINDS[kind].encode("utf-8", "surrogateescape")
    page = one * (_PAGE // len(one) + 1)
    with path.open("wb") as file:
        for left in range(size, 0, -len(page)):
            file.write(page[:left])


def start(command: str, path: Path) -> subprocess.Popen[bytes]:
    """`efimm COMMAND PATH`, with what it says in a file beside."""
    with (path.parent / "said").open("wb") as said:
        line = [sys.executable, "-m", "efimm", command, str(path)]
        return subprocess.Popen(line, cwd=ROOT, stdout=said, stderr=said)


def answer(command: str, path: Path) -> Answer:
    """The end of `efimm COMMAND PATH`, waited for."""
    process = start(command, path)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said = (path.parent / "said").read_text(encoding="utf-8", errors="replace").splitlines()
    return Answer(process.returncode, said[-1] if said else "", used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def main(arguments: list[str] | None = None) -> None:
    """Measure each kind with both commands, a line for each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_logs", description=__doc__)
    parser.add_argument("sizes", type=int, nargs="*", metavar="MB", default=[SIZE // MEGABYTE], help="sizes, in MB")
    sizes = parser.parse_args(arguments).sizes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        for kind in KINDS:
            for command in ("check", "map"):
                for size in sizes:
                    write(kind, path, size * MEGABYTE)
                    print(_line(kind, command, size, answer(command, path)).replace(str(path), ""), flush=True)


def _line(kind: str, command: str, size: int, found: Answer) -> str:
    figures = f"{size:4} MB: {found.seconds:5.1f} s  {found.megabytes:4.0f} MB  status {found.status}"
    return f"  {kind:38} {command:5} {figures}  {found.said[:90]}"


if __name__ == "__main__":
    main()
