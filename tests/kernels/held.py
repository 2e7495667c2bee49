"""Captured page tables and the model's of the same boot, side by side: what the tests of captured kernels ask for.

The model gets the memory map of the log, the array's address, and what is the capture's own: where its image lay, where
KASLR had put the three areas, four levels or five.  `EFIMM_CAPTURES` names a folder with further captures in the form
of tests/data/tables, started with efi=debug: each is held against the model by the same tests.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from captures import TABLES, opened, text_of

import efimm
from efimm.uefi import EfiMemoryDescriptor, read_map

MORE = os.environ.get("EFIMM_CAPTURES")
FOLDERS = {
    path.parent.name: path.parent
    for root in (TABLES, *([Path(MORE)] if MORE else []))
    for path in sorted(root.glob("*/tables.npz"))
}


@cache
def facts(name):
    return json.loads(text_of(FOLDERS[name] / "tables.json"))


CAPTURES = tuple(
    name for name in FOLDERS if facts(name)["mode"] in ("4level", "5level") and "efi=debug" in facts(name)["cmdline"]
)
KERNELS = {name: re.match(r"Linux version (\d+\.\d+)", facts(name)["version"])[1] for name in CAPTURES}
HIGH = tuple(name for name in CAPTURES if int(facts(name)["efi_memmap"]["phys_map"], 16) >= 1 << 39)
ROOTS = {"init_top_pgt": "swapper_pg_dir", "efi_mm.pgd": "efi_pgd", "trampoline_pgd": "trampoline_pgd"}
P, RW, PCD, PS, G, NX = 1, 2, 1 << 4, 1 << 7, 1 << 8, 1 << 63
DIRTY = 1 << 6
ADDRESS, RIGHTS = 0x000F_FFFF_FFFF_F000, RW | PCD | G | NX | DIRTY
GIB, LINE = 1 << 30, 1 << 39
BASES = ("page_offset_base", "vmalloc_base", "vmemmap_base")


class Leaf(NamedTuple):
    """A mapped page: virtual and physical address, size, rights."""

    va: int
    pa: int
    size: int
    rights: int


@cache
def captured(name):
    """The roots of a capture, and its table pages by frame number."""
    with np.load(FOLDERS[name] / "tables.npz") as file:
        pages = dict(zip(file["pfns"].tolist(), file["pages"].tolist(), strict=True))
    return {root: int(pa, 16) for root, pa in facts(name)["roots"].items()}, pages


def variable(name, what):
    return int(facts(name)["variables"][what], 16)


def arch_of(name):
    return "x86_64-la57" if facts(name)["mode"] == "5level" else "x86_64"


def record_of(name):
    """The model's kernel with the image where this boot had it."""
    memory, roots, mode = efimm.x86.load_tables(FOLDERS[name])
    kernel, phys_base = efimm.KERNELS[KERNELS[name]], variable(name, "phys_base")
    image = kernel.image.in_tables(memory, roots["init_top_pgt"], phys_base, mode)
    layouts = {key: replace(getattr(kernel, key), phys_base=phys_base) for key in ("layout", "layout_la57")}
    return replace(kernel, image=image, **layouts)


def kaslr_of(name):
    """The three bases for `efimm.machine`, None where memory KASLR has moved nothing."""
    bases = [variable(name, base) for base in BASES]
    layout = efimm.KERNELS[KERNELS[name]].layout_on(arch_of(name))
    usual = [layout.region(area).start for area in ("direct map", "vmalloc", "vmemmap")]
    return None if bases == usual else ",".join(map(hex, bases))


@cache
def modelled(name):
    machine = efimm.machine(
        map=read_map(opened(FOLDERS[name] / "dmesg.txt")),
        buffer=int(facts(name)["efi_memmap"]["phys_map"], 16),
        arch=arch_of(name),
        kaslr=kaslr_of(name),
    )
    return efimm.run(machine, record_of(name))


def layout_of(name):
    return modelled(name).linux.layout


def real_table(name, root):
    roots, pages = captured(name)
    return pages[roots[root] >> 12]


def model_table(name, root):
    table = getattr(modelled(name).linux, ROOTS[root])
    return [int(entry) for entry in table]


def reader(name, read_root):
    """What reads a table page by its physical address, on the same side as `read_root`, one of the two above."""
    if read_root is real_table:
        return lambda pa: captured(name)[1][pa >> 12]
    memory = modelled(name).linux.memory
    return lambda pa: [memory.read_u64(pa + 8 * k) for k in range(512)]


def below(name, read_root, entry):
    return reader(name, read_root)(entry & ADDRESS)


def leaves(read, table, indexes, mode):
    def under(entries, shift, va):
        for index, entry in enumerate(entries):
            start = va + (index << shift)
            if entry & P and (shift == 12 or entry & PS):
                yield Leaf(start, entry & ADDRESS, 1 << shift, entry & RIGHTS)
            elif entry & P:
                yield from under(read(entry & ADDRESS), shift - 9, start)

    top = mode.levels[0].shift
    for index in indexes:
        if table[index] & P:
            sign = (1 << 64) - (1 << mode.va_bits) if index > 255 else 0
            yield from under(read(table[index] & ADDRESS), top - 9, sign + (index << top))


def leaves_of(read_root, name, root, indexes):
    mode = layout_of(name).mode
    return [*leaves(reader(name, read_root), read_root(name, root), indexes, mode)]


def real_leaves(name, root, indexes):
    return leaves_of(real_table, name, root, indexes)


def model_leaves(name, root, indexes):
    return leaves_of(model_table, name, root, indexes)


def covered(found):
    """(va, end, pa) of what is mapped without a break, whatever the sizes and rights of its pages."""
    ranges = []
    for leaf in found:
        if ranges and ranges[-1][1] == leaf.va and leaf.pa - leaf.va == ranges[-1][2] - ranges[-1][0]:
            ranges[-1] = ranges[-1][0], leaf.va + leaf.size, ranges[-1][2]
        else:
            ranges.append((leaf.va, leaf.va + leaf.size, leaf.pa))
    return ranges


def descriptors(name):
    rows = list(csv.DictReader(text_of(FOLDERS[name] / "efi_memmap.csv").splitlines()))
    keys = ("type", "phys", "virt", "pages", "attribute")
    return [EfiMemoryDescriptor(*(int(row[key], 0) for key in keys)) for row in rows]


def passed(name):
    return passed_by(modelled(name))


def passed_by(found):
    places = range(found.buffer_pa, found.buffer_pa + 48 * found.linux.memmap_count, 48)
    return [EfiMemoryDescriptor.unpack(found.linux.memory.read(pa, 48)) for pa in places]
