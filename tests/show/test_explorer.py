"""The page-walk explorer: every bit is explained once, the end is the processor's, picture and text say the same."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import product
from random import Random

import pytest

import efimm
from efimm.show.drawing.shapes import Rect, Text
from efimm.show.drawing.svg import svg
from efimm.show.explorer.explained import describe, explain
from efimm.show.explorer.scene import cell_rows, draw
from efimm.show.explorer.widget import CODE, DATA, LARGE, MODES, READ_ONLY, WRONG, sample_tables, source_of
from efimm.trace import Trace
from efimm.x86 import LEGACY, LEGACY_4K, LONG4, LONG5, PAE, PAGING_OFF, Cpu, GeneralProtection, PageFault, walk
from efimm.x86.cpu import CR0_WP, CR4_SMAP, CR4_SMEP, EFER_NXE, Request
from efimm.x86.fields import address_fields, code_fields, entry_fields
from efimm.x86.modes import ADDRESS_MASK, NX, PS, P, pdpte_reserved, reserved_masks

PAGED = [mode for mode in MODES if mode.levels]
LEVELS = [(mode, depth) for mode in PAGED for depth in range(len(mode.levels))]
SIZES = (32, 36, 39, 46, 52)


def some_entries(mode, depth):
    """Empty, full, and random entries: not present, tables, leaves, with reserved bits and without."""
    random, top = Random(depth), 8 * mode.entry_bytes
    yield from (0, 1, (1 << top) - 1, (1 << top) - 2, P | PS, 1 << top - 1 | P)
    yield from (random.getrandbits(top) for _ in range(60))
    yield from (random.getrandbits(top) & ~reserved_masks(mode, 32, True)[depth][1] | P | PS for _ in range(30))


# one word cut into fields


@pytest.mark.parametrize(("mode", "depth"), LEVELS, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("nxe", [True, False])
def test_every_bit_of_every_entry_belongs_to_one_field_with_a_meaning(mode, depth, nxe):
    for entry, maxphyaddr in product(some_entries(mode, depth), SIZES):
        fields = entry_fields(mode, depth, entry, maxphyaddr=maxphyaddr, nxe=nxe)
        bits = [bit for field in fields for bit in range(field.high, field.low - 1, -1)]
        assert bits == list(range(8 * mode.entry_bytes - 1, -1, -1))
        assert all(field.name and field.meaning for field in fields)
        for field in fields:
            shift = 32 if field.name == "high" else field.low if field.kind == "address" else 0
            assert field.value >> shift == entry >> field.low & (1 << field.high - field.low + 1) - 1


def reserved(mode, depth, maxphyaddr, *, nxe, leaf):
    """The bits that must be 0: for a walk, or in a PDPTE when CR3 is loaded."""
    if mode is PAE and depth == 0:
        return pdpte_reserved(maxphyaddr)
    return reserved_masks(mode, maxphyaddr, nxe)[depth][leaf]


@pytest.mark.parametrize(("mode", "depth"), LEVELS, ids=lambda value: getattr(value, "name", value))
def test_the_bits_that_must_be_0_are_those_that_the_walk_faults_on(mode, depth):
    for entry, maxphyaddr, nxe in product(some_entries(mode, depth), SIZES, (True, False)):
        if not entry & P:
            continue
        fields = entry_fields(mode, depth, entry, maxphyaddr=maxphyaddr, nxe=nxe)
        must_be_0 = sum(field.mask for field in fields if field.kind == "reserved")
        leaf = mode.levels[depth].is_leaf(entry)
        assert must_be_0 == reserved(mode, depth, maxphyaddr, nxe=nxe, leaf=leaf)


@pytest.mark.parametrize(("mode", "depth"), LEVELS, ids=lambda value: getattr(value, "name", value))
def test_the_address_in_an_entry_is_where_the_walk_goes(mode, depth):
    level = mode.levels[depth]
    for entry in some_entries(mode, depth):
        if not entry & P:
            continue
        leaf = level.is_leaf(entry)
        legal = entry & ~reserved(mode, depth, 46, nxe=True, leaf=leaf)
        address = sum(f.value for f in entry_fields(mode, depth, legal, maxphyaddr=46) if f.kind == "address")
        assert address == (mode.page_address(level, legal) if leaf else legal & ADDRESS_MASK)


FLAGS = "G8 PAT7 D6 A5 PCD4 PWT3 US2 RW1 P0"
TABLE_FLAGS = "ign8 PS7 ign6 A5 PCD4 PWT3 US2 RW1 P0"
LARGE_FLAGS = "sw11-9 G8 PS7 D6 A5 PCD4 PWT3 US2 RW1 P0"
# Written from the manual's tables of entry formats (recalled), not from the code.
FORMATS = [
    (LONG5, "pgd", P, 52, f"NX63 ign62-52 table51-12 sw11-9 {TABLE_FLAGS}"),
    (LONG5, "p4d", P, 46, f"NX63 ign62-52 rsvd51-46 table45-12 sw11-9 {TABLE_FLAGS}"),
    (LONG4, "pgd", P, 46, f"NX63 ign62-52 rsvd51-46 table45-12 sw11-9 {TABLE_FLAGS}"),
    (LONG4, "pud", P, 46, f"NX63 ign62-52 rsvd51-46 table45-12 sw11-9 {TABLE_FLAGS}"),
    (LONG4, "pud", P | PS, 46, f"NX63 key62-59 ign58-52 rsvd51-46 page45-30 rsvd29-13 PAT12 {LARGE_FLAGS}"),
    (LONG4, "pmd", P | PS, 39, f"NX63 key62-59 ign58-52 rsvd51-39 page38-21 rsvd20-13 PAT12 {LARGE_FLAGS}"),
    (LONG4, "pte", P, 46, f"NX63 key62-59 ign58-52 rsvd51-46 page45-12 sw11-9 {FLAGS}"),
    (LONG4, "pte", 0, 46, "ign63-1 P0"),
    (PAE, "pgd", P, 36, "rsvd63-36 table35-12 sw11-9 rsvd8-5 PCD4 PWT3 rsvd2-1 P0"),
    (PAE, "pmd", P, 36, f"NX63 rsvd62-52 rsvd51-36 table35-12 sw11-9 {TABLE_FLAGS}"),
    (PAE, "pmd", P | PS, 36, f"NX63 rsvd62-52 rsvd51-36 page35-21 rsvd20-13 PAT12 {LARGE_FLAGS}"),
    (PAE, "pte", P, 36, f"NX63 rsvd62-52 rsvd51-36 page35-12 sw11-9 {FLAGS}"),
    (LEGACY, "pgd", P, 36, f"table31-12 sw11-9 {TABLE_FLAGS}"),
    (LEGACY, "pgd", P | PS, 36, f"page31-22 rsvd21-17 high16-13 PAT12 {LARGE_FLAGS}"),
    (LEGACY, "pgd", P | PS, 46, f"page31-22 rsvd21 high20-13 PAT12 {LARGE_FLAGS}"),
    (LEGACY, "pgd", P | PS, 32, f"page31-22 rsvd21-13 PAT12 {LARGE_FLAGS}"),
    (LEGACY, "pte", P, 36, f"page31-12 sw11-9 {FLAGS}"),
    (LEGACY_4K, "pgd", P | PS, 36, "table31-12 sw11-9 ign8 ign7 ign6 A5 PCD4 PWT3 US2 RW1 P0"),
    (LEGACY_4K, "pte", P, 36, f"page31-12 sw11-9 {FLAGS}"),
]


@pytest.mark.parametrize(("mode", "name", "entry", "maxphyaddr", "expected"), FORMATS)
def test_the_formats_of_the_manual(mode, name, entry, maxphyaddr, expected):
    depth = [level.name for level in mode.levels].index(name)
    fields = entry_fields(mode, depth, entry, maxphyaddr=maxphyaddr)

    assert " ".join(f"{field.name}{field.bits}".replace("..", "-") for field in fields) == expected


def test_bit_7_at_the_top_of_long_mode_must_be_0_and_nx_too_without_nxe():
    kinds = {field.name: field.kind for field in entry_fields(LONG4, 0, P, nxe=False)}

    assert kinds["PS"] == kinds["NX"] == "reserved"


def test_the_words_say_what_the_bits_hold():
    on = {f.name: f.meaning for f in entry_fields(LONG4, 2, 0x1F | PS | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 12 | NX)}
    off = {f.name: f.meaning for f in entry_fields(LONG4, 2, P)}

    assert on["PS"] == "page size: this entry maps a page of 2M"
    assert on["PAT"] == on["PCD"] == on["PWT"] == "memory type of the page: IA32_PAT entry 7"
    assert off["PCD"] == "memory type of the table: IA32_PAT entry 0"
    assert {name for name in on if name in off and on[name] == off[name]} <= {"P", "sw", "ign"}


def test_an_index_is_what_the_walk_used():
    memory, tables = sample_tables()
    for mode in MODES:
        for va in (CODE, LARGE, 0x7000, 0xFFFF_FFFF, 1 << 47, 1 << 40, -1 & (1 << 64) - 1, 1 << 57):
            found = walk(memory, tables[mode.name][0], va, mode)
            fields = address_fields(found)
            bits = [bit for field in fields for bit in range(field.high, field.low - 1, -1)]
            wide = 64 if mode.va_bits > 32 or va >> 32 else 32
            assert bits == list(range(wide - 1, -1, -1))
            assert sum(field.value << field.low for field in fields) == va
            walked = [(field.name, field.value) for field in fields if field.kind == "index"]
            assert walked == [(step.level.name, step.index) for step in found.steps]
            if found.pa is not None and found.entries:
                assert fields[-1].value == va & found.page_size - 1


def test_the_error_code_bit_by_bit():
    fields = {field.name: field.value for field in code_fields(0b1_0011)}

    assert fields == {"INSTR": 1, "RSVD": 0, "USER": 0, "WRITE": 1, "PROT": 1, "rest": 0}
    assert sum(field.mask for field in code_fields(0)) == (1 << 32) - 1


# the end of an access


ADDRESSES = (CODE, DATA, READ_ONLY, LARGE, WRONG, 0x7000, 0x1_0000_0000_0000)
ACCESSES = list(product(("read", "write", "fetch"), *[(False, True)] * 5))


def processor(memory, root, mode, request, maxphyaddr=46):
    cpu = Cpu(memory, Trace(), mode=mode, maxphyaddr=maxphyaddr)
    cpu.efer = cpu.efer | EFER_NXE if request.nxe else cpu.efer & ~EFER_NXE
    cpu.cr0 = cpu.cr0 | CR0_WP if request.wp else cpu.cr0 & ~CR0_WP
    cpu.cr4 |= CR4_SMEP * request.smep | CR4_SMAP * request.smap
    cpu.cpl = 3 if request.user else 0
    cpu.write_cr3(root)
    return cpu


def outcome(cpu, kind, va):
    """(kind, pa, error code) of an access by the processor itself."""
    try:
        if kind == "write":
            cpu.write(va, b"x")
        elif kind == "read":
            cpu.read(va, 1)
        pa = cpu.trace.events[-1].pa if kind != "fetch" else cpu.fetch(va)
    except PageFault as fault:
        return "page fault", None, fault.error_code
    except GeneralProtection:
        return "general protection", None, None
    return "page", pa, None


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_the_end_is_the_processors(mode):
    seen = set()
    for kind, user, wp, nxe, smep, smap in ACCESSES:
        memory, tables = sample_tables()
        root = tables[mode.name][0]
        request = Request(kind, user, wp, nxe and mode.entry_bytes == 8, smep, smap)
        for va in ADDRESSES if mode.va_bits > 32 else ADDRESSES[:-1]:
            found = explain(walk(memory, root, va, mode, maxphyaddr=46, nxe=request.nxe), request, maxphyaddr=46)
            ours = found.kind, found.pa, found.code
            assert ours == outcome(processor(memory, root, mode, request), kind, va)
            seen.add(found.code)
    if mode is LONG4:
        assert seen >= {None, 0, 1, 2, 3, 4, 5, 6, 7, 9, 0x10, 0x11, 0x14, 0x15}


@pytest.mark.parametrize("mode", PAGED, ids=lambda mode: mode.name)
def test_the_bits_that_stop_an_access_are_those_to_change(mode):
    """Flip what is marked, and the reason is gone: the access passes, or fails further down."""
    for (kind, user, wp, nxe, smep, smap), va in product(ACCESSES, ADDRESSES[:-1]):
        memory, tables = sample_tables()
        root = tables[mode.name][0]
        request = Request(kind, user, wp, nxe and mode.entry_bytes == 8, smep, smap)

        def look(memory=memory, root=root, va=va, request=request):
            return explain(walk(memory, root, va, mode, maxphyaddr=46, nxe=request.nxe), request, maxphyaddr=46)

        before = look()
        stops = [row.stops for row in before.rows]
        assert any(stops) == (before.kind == "page fault")
        if not any(stops):
            continue
        for row in before.rows:
            word = memory.read_word(row.pa, mode.entry_bytes) ^ row.stops
            memory.write(row.pa, word.to_bytes(mode.entry_bytes, "little"))
        assert look().reasons != before.reasons


def test_a_bad_pdpte_is_refused_when_cr3_is_loaded():
    memory, tables = sample_tables()
    root = tables["PAE"][0]
    memory.write_u64(root, memory.read_u64(root) | 2)
    found = explain(walk(memory, root, CODE, PAE), maxphyaddr=46)

    assert (found.kind, found.code) == ("general protection", None)
    assert "refuses this CR3" in found.reasons[0]
    with pytest.raises(GeneralProtection):
        Cpu(memory, Trace(), mode=PAE).write_cr3(root)


def test_an_address_beyond_32_bits_does_not_exist_in_a_32_bit_mode():
    memory, tables = sample_tables()
    found = explain(walk(memory, tables["PAE"][0], 1 << 32, PAE))

    assert found.kind == "no address"
    assert found.address[0].kind == "reserved"


def look(cpu, va, kind="read"):
    """What the explorer explains about an access of `cpu`."""
    source = source_of(cpu)
    found = source.walk(va, "CR3", cpu.mode, cpu.maxphyaddr, nxe=True)
    cached = source.cached(va, "CR3", cpu.mode)
    return explain(found, source.request()._replace(kind=kind), maxphyaddr=cpu.maxphyaddr, cached=cached)


def test_a_stale_translation_in_the_tlb_is_told():
    memory, tables = sample_tables()
    cpu = Cpu(memory, Trace())
    cpu.write_cr3(tables["4-level"][0])
    assert look(cpu, DATA).cached == ""
    cpu.read(DATA, 1)

    assert look(cpu, DATA).cached == "The TLB holds the same translation."
    memory.write_u64(cpu.walk(DATA).last.pa, 0)
    assert look(cpu, DATA).cached == "The TLB still holds 0x402000 -> 0x1235000: this read goes to 0x1235000."
    assert look(cpu, DATA, "fetch").cached.endswith("this access walks again.")
    cpu.invlpg(DATA)
    assert look(cpu, DATA).cached == ""


@pytest.mark.parametrize("entry", [0, 0x777_7000 | P, 0x777_7067, 0x123_5025, 0x123_5067 | NX], ids=hex)
@pytest.mark.parametrize("first", ["read", "write"])
@pytest.mark.parametrize("then", ["read", "write", "fetch"])
def test_the_end_of_an_access_is_the_processors_with_a_stale_translation_too(entry, first, then):
    memory, tables = sample_tables()
    place = walk(memory, tables["4-level"][0], DATA).last.pa
    memory.write_u64(place, 0x123_5027)  # present, writable, user, accessed; not dirty, and may be executed
    cpu = Cpu(memory, Trace())
    cpu.write_cr3(tables["4-level"][0])
    cpu.read(DATA, 1) if first == "read" else cpu.write(DATA, b"1")
    memory.write_u64(place, entry)
    said = look(cpu, DATA, then)
    kind, goes, code = outcome(cpu, then, DATA)

    if said.served is None:
        assert (said.kind, said.pa, said.code) == (kind, goes, code)
    else:
        assert (kind, goes) == ("page", said.served)
        assert said.verdict.startswith(
            f"Out of the TLB: this kernel {then} goes to physical {goes:#x}. Looked up now: "
        )


# picture and text


def many():
    """Walks of all kinds: sample tables in every mode, and a booted kernel."""
    memory, tables = sample_tables()
    for mode, va, kind, maxphyaddr in product(MODES, ADDRESSES, ("read", "write", "fetch"), (36, 52)):
        found = walk(memory, tables[mode.name][0], va, mode, maxphyaddr=maxphyaddr)
        yield explain(found, Request(kind, user=kind == "write"), maxphyaddr=maxphyaddr)
    for page_size, arch in (("1G", "x86_64"), ("4K", "x86_64"), ("4K", "i386"), ("2M", "i386-pae")):
        cpu = efimm.boot(efimm.machine("2G", page_size=page_size, arch=arch), "3.5").cpu
        for va in (0xFFFF_8800_0000_1234, 0xFFFF_FFFF_8100_0000, 0xC010_0000, 0x1234, 0xFFFF_FFFF_FFFF_FFFF):
            yield explain(cpu.walk(va), Request("fetch"), maxphyaddr=46)
    yield from (explain(found, maxphyaddr=size) for found, size in full_entries())
    full = replace(tables_with_long_names(), cached="The TLB still holds " + "0xfffffffffffff000 -> " * 3)
    yield full


def full_entries():
    """An entry with every bit set, and one with all but PS, at each level: the longest value of each field."""
    for (mode, depth), maxphyaddr, without in product(LEVELS, (32, 36, 46, 51, 52), (0, PS)):
        memory, root, va = sample_tables()[0], 0x20_0000, (1 << mode.va_bits) - 1
        for number, level in enumerate(mode.levels[: depth + 1]):
            table = root + 0x1000 * number
            link = table + 0x1000 | (P if mode is PAE and number == 0 else 0x27)
            entry = (1 << 8 * mode.entry_bytes) - 1 - without if number == depth else link
            place = table + mode.entry_bytes * level.index(va)
            memory.write(place, entry.to_bytes(mode.entry_bytes, "little"))
        va = va if mode.va_bits == 32 else (1 << 64) - 1
        yield walk(memory, root, va, mode, maxphyaddr=maxphyaddr), maxphyaddr


def tables_with_long_names():
    """Every number as long as it can be."""
    memory, root = sample_tables()[0], ADDRESS_MASK - 0xFFFF
    va = 0xFFFF_FFFF_FFFF_FFFF
    for level in LONG5.levels:
        place = root + 8 * level.index(va)
        entry = (root + 0x1000) | NX | 0xF7F | 0x7FF << 52
        memory.write_u64(place, entry & ~(PS if level.shift > 12 else 0))
        root = entry & ADDRESS_MASK
    return explain(walk(memory, ADDRESS_MASK - 0xFFFF, va, LONG5), Request("fetch", user=True, smep=True))


def test_the_twin_has_at_most_72_columns():
    assert max(len(line) for found in many() for line in describe(found).splitlines()) <= 72


def told_by_the_twin(text):
    """{(part, bits, name, value)} of the twin's tables; a part is the address, an entry, or the error code."""
    facts, part = set(), ""
    for line in text.splitlines():
        if match := re.match(r"(address \S+|error code \S+|\S+\[\d+\]) ?", line):
            part = match[1]
        elif match := re.match(r"[> ] (\d+(?:\.\.\d+)?) +(\S+) +(\S+) +\S", line):
            facts.add((part, *match.groups()))
    return facts


def test_picture_and_twin_tell_the_same_facts():
    for found in many():
        text = describe(found)
        rows = cell_rows(found)
        cells = {
            (re.sub(r" = .*", "", row.name), *re.match(r"bits? (\S+), (\S+) = (\S+): ", cell.meaning).groups())
            for row in rows
            for cell in row.cells
        }
        assert told_by_the_twin(text) == cells
        words = " ".join(text.split())
        for row in rows:
            for cell in row.cells:
                assert " ".join(cell.meaning.split(": ", 1)[1].split()) in words
        texts = [shape.text for shape in draw(found).shapes if isinstance(shape, Text)]
        assert all(row.raw in texts and row.raw in text for row in found.rows)
        stops = sum(isinstance(shape, Rect) and shape.role == "bit stops" for shape in draw(found).shapes) - 1
        assert stops == text.count("\n> ") + sum(field.kind == "reserved" for field in found.address)


def test_every_cell_lies_on_its_box_and_no_two_overlap():
    for found in many():
        tips = {(shape.tip): shape for shape in draw(found).shapes if isinstance(shape, Rect) and shape.tip}
        for row in cell_rows(found):
            x = row.cells[0].x
            for cell in row.cells:
                assert abs(cell.x - x) < 0.01
                assert cell.width >= 32
                assert abs(tips[cell.meaning].width - cell.width) <= 3
                x += cell.width
            assert x <= 946.01


def test_the_picture_is_xml_and_nothing_leaves_it():
    for found in many():
        scene = draw(found)
        ET.fromstring(svg(scene))
        assert str(found.va) not in scene.title
        assert all(0 <= s.x and s.x + s.width <= scene.width for s in scene.shapes if isinstance(s, Rect))
        assert all(0 <= s.y <= scene.height for s in scene.shapes if isinstance(s, Rect | Text))


# where tables come from


def test_sources():
    linux = efimm.boot(efimm.machine("1G"), "3.5")
    memory = linux.memory

    assert list(source_of(linux).roots) == ["CR3", "swapper_pg_dir", "trampoline_pgd"]
    assert list(source_of(linux.cpu).roots) == ["CR3"]
    assert source_of(efimm.run(efimm.machine("1G"), "3.5")).maxphyaddr == linux.cpu.maxphyaddr
    assert source_of(memory, 0x1000).roots["table at 0x1000"].mode is LONG4
    assert source_of((memory, {"one": 0x1000}, PAE)).roots["one"].mode is PAE
    assert list(source_of(efimm.boot(efimm.machine("1G", arch="i386"), "3.5")).roots) == (
        ["CR3", "swapper_pg_dir", "initial_page_table"]
    )
    with pytest.raises(TypeError, match="needs a root"):
        source_of(memory)
    with pytest.raises(TypeError, match="expected a Cpu"):
        source_of("tables.npz")


# the widget, without a browser


def view_of(*arguments, **options):
    pytest.importorskip("anywidget")
    from efimm.show.explorer.widget import explorer

    return explorer(*arguments, **options)


@pytest.mark.parametrize(
    ("typed", "va"),
    [
        ("0x8000001234", 0x80_0000_1234),
        ("ffff880000000000", 0xFFFF_8800_0000_0000),
        ("0000008000001020", 0x80_0000_1020),
        ("ffff8800`00000000", 0xFFFF_8800_0000_0000),
        ("4096", 4096),
        ("512G", 512 << 30),
        (" 0xFFFF_8800_0000_0000 ", 0xFFFF_8800_0000_0000),
        ("0", 0),
        (0x1234, 0x1234),
    ],
)
def test_an_address_is_read_as_people_write_it(typed, va):
    assert view_of(None, typed).explained.va == va


@pytest.mark.parametrize("typed", ["", "hello", "0x", "-1", "0x1_0000_0000_0000_0000", "12 34"])
def test_what_is_no_address_is_told_and_the_picture_stays(typed):
    view = view_of()
    before, twin = view.shown["scene"], repr(view)
    view.address = typed

    assert "address" in view.shown["problem"]
    assert view.shown["scene"] == before
    assert repr(view) == f"{view.shown['problem']}\n\n{twin}"
    view.address = "0x7000"
    assert view.shown["problem"] == ""
    assert repr(view) == view.shown["twin"] != twin


def test_a_mode_brings_its_table_and_a_table_its_mode():
    view = view_of()
    assert (view.mode, view.table) == ("4-level", "4-level")
    view.mode = "PAE"
    assert (view.table, view.explained.mode) == ("PAE", "PAE")
    view.table = "paging off"
    assert view.mode == "paging off"
    assert view.shown["verdict"] == "Translated: this kernel read goes to physical 0x401000."
    with pytest.raises(ValueError, match="expected one of 4-level"):
        view.mode = "6-level"


def test_a_mode_without_a_table_reads_the_same_bytes_otherwise():
    linux = efimm.boot(efimm.machine("1G"), "3.5")
    view = view_of(linux, 0x1000, mode=LEGACY)

    assert (view.mode, view.table) == ("legacy 32-bit", "CR3")
    assert len(view.explained.rows[0].fields[-1].bits) == 1


def test_each_switch_changes_the_end():
    view = view_of(None, READ_ONLY, access="write")
    assert view.explained.code == 3
    view.wp = False
    assert view.explained.kind == "page"
    view.access, view.nxe = "fetch", False
    assert view.explained.code == 9
    view.address, view.nxe = CODE, True
    assert view.explained.kind == "page"
    view.smep = True
    assert view.explained.code == 0x11
    view.access, view.smap = "read", True
    assert view.explained.code == 1
    view.user = True
    assert view.explained.kind == "page"


def test_the_tables_are_looked_at_again():
    linux = efimm.boot(efimm.machine("600G"), "3.5")
    view = view_of(linux, 0x1234)
    assert view.shown["verdict"].startswith("Page fault")
    linux.swapper_pg_dir[0] = linux.swapper_pg_dir[272]
    view.again += 1

    assert view.shown["verdict"].startswith("Translated")
    assert repr(view) == view._repr_mimebundle_()[0]["text/plain"] == view.shown["twin"]


def test_one_message_of_the_browser_gives_one_answer():
    view = view_of()
    answers = []
    view.observe(answers.append, "shown")
    view.set_state({"address": "0x7000", "again": 1})

    assert len(answers) == 1
    assert PAGING_OFF.name in view.choices["modes"]
