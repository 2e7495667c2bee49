"""Reading memory maps: each style of line by hand, every error, the project's own files, and the real logs."""

from pathlib import Path

import pytest
from captures import BOOTS, opened
from hypothesis import given
from hypothesis import strategies as st

from efimm.maps.datafiles import read_data_file
from efimm.maps.formats import MapError, read_map, write_map
from efimm.uefi.memmap import E820Entry, EfiMemoryDescriptor, MemoryMap

DATA = Path(__file__).parents[2] / "data"

RUNTIME = 1 << 63


def descriptor(kind, attribute, start, pages):
    return EfiMemoryDescriptor(kind, start, 0, pages, attribute)


# Each line is mem00 of a list of one.  0x7e4c0000 to 0x7e540000 are 0x80 pages.
RUNTIME_DATA = descriptor(6, RUNTIME | 0xF, 0x7E4C0000, 0x80)
EXCLUSIVE = "range=[0x000000007e4c0000-0x000000007e540000) (0MB)"
INCLUSIVE = "range=[0x000000007e4c0000-0x000000007e53ffff] (0MB)"
EFI_LINES = {
    "3.3": (f"EFI: mem00: type=6, attr=0x800000000000000f, {EXCLUSIVE}", RUNTIME_DATA),
    "3.5": (f"efi: mem00: type=6, attr=0x800000000000000f, {EXCLUSIVE}", RUNTIME_DATA),
    "4.4": (f"efi: mem00: [Runtime Data       |RUN|  |  |  |  |  |   |WB|WT|WC|UC] {EXCLUSIVE}", RUNTIME_DATA),
    "4.9": (f"efi: mem00: [Runtime Data       |RUN|  |  |  |  |  |  |   |WB|WT|WC|UC] {INCLUSIVE}", RUNTIME_DATA),
    "5.9": (f"efi: mem00: [Runtime Data       |RUN|  |  |  |  |  |  |  |   |WB|WT|WC|UC] {INCLUSIVE}", RUNTIME_DATA),
    "6.1": (f"efi: mem00: [Runtime Data|RUN|  |  |  |  |  |  |  |  |   |WB|WT|WC|UC] {INCLUSIVE}", RUNTIME_DATA),
    "6.1, every column": (
        f"efi: mem00: [Persistent  |RUN|HP|MR|CC|SP|NV|XP|RP|WP|RO|UCE|WB|WT|WC|UC] {INCLUSIVE}",
        # 0x100000 HP, 0x80000 CC, 0x40000 SP, 0x20000 RO, 0x10000 MR; 0xf000 NV, XP, RP and WP; 0x10 UCE; 0xf
        descriptor(14, RUNTIME | 0x1FF01F, 0x7E4C0000, 0x80),
    ),
    "4.4, only UC": (
        "efi: mem00: [Memory Mapped I/O  |RUN|  |  |  |  |  |   |  |  |  |UC] "
        "range=[0x00000000fed1c000-0x00000000fed20000) (0MB)",
        descriptor(11, RUNTIME | 1, 0xFED1C000, 4),
    ),
    "unknown attribute bits": (
        f"efi: mem00: [Conventional|attr=0x020000000000000f] {INCLUSIVE}",
        descriptor(7, 0x020000000000000F, 0x7E4C0000, 0x80),
    ),
    "unknown type": (
        f"efi: mem00: [type=2147483648|   |  |  |  |  |  |  |  |  |   |WB|  |  |  ] {INCLUSIVE}",
        descriptor(0x80000000, 8, 0x7E4C0000, 0x80),
    ),
    "unknown type and bits": (
        f"efi: mem00: [type=16|attr=0x0400000000000000] {INCLUSIVE}",
        descriptor(16, 1 << 58, 0x7E4C0000, 0x80),
    ),
    "all zero, exclusive": (
        "efi: mem00: type=0, attr=0x0, range=[0x0000000000000000-0x0000000000000000) (0MB)",
        descriptor(0, 0, 0, 0),
    ),
    "all zero, inclusive": (
        "efi: mem00: [Reserved    |   |  |  |  |  |  |  |  |  |   |  |  |  |  ] "
        "range=[0x0000000000000000-0xffffffffffffffff] (0MB)",
        descriptor(0, 0, 0, 0),
    ),
    "empty, inclusive": (
        "efi: mem00: [Reserved    |   |  |  |  |  |  |  |  |  |   |  |  |  |  ] "
        "range=[0x0000000000001000-0x0000000000000fff] (0MB)",
        descriptor(0, 0, 0x1000, 0),
    ),
}

E820_LINES = {
    "3.4": (" BIOS-e820: 0000000000000000 - 000000000009fc00 (usable)", E820Entry(0, 0x9FC00, 1)),
    "3.5": ("BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable", E820Entry(0, 0x9FC00, 1)),
    "3.4, two words": (" BIOS-e820: 0000000000001000 - 0000000000002000 (ACPI NVS)", E820Entry(0x1000, 0x2000, 4)),
    "3.4, type N": (" BIOS-e820: 0000000000001000 - 0000000000002000 type 20", E820Entry(0x1000, 0x2000, 20)),
    "reserved": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] reserved", E820Entry(0x1000, 0x2000, 2)),
    "ACPI data": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] ACPI data", E820Entry(0x1000, 0x2000, 3)),
    "unusable": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] unusable", E820Entry(0x1000, 0x2000, 5)),
    "type 20": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] type 20", E820Entry(0x1000, 0x2000, 20)),
    "type 7": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] persistent (type 7)",
               E820Entry(0x1000, 0x2000, 7)),
    "type 12": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] persistent (type 12)",
                E820Entry(0x1000, 0x2000, 12)),
    "soft reserved": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001fff] soft reserved",
                      E820Entry(0x1000, 0x2000, 0xEFFFFFFF)),
    "one byte": ("BIOS-e820: [mem 0x0000000000001000-0x0000000000001000] usable", E820Entry(0x1000, 0x1001, 1)),
}  # fmt: skip

PREFIXES = {
    "none": "",
    "time": "[    0.000000] ",
    "short time": "[ 0.000000] ",
    "delta": "[  +0.000000] ",
    "journal": "Nov 23 02:34:01 host kernel: ",
    "serial console": "2026-11-23T02:34:01Z ttyS0| [    0.000000][    T0] ",
    "quoted mail": "> > [    0.000000] ",
    "bad bytes": "\ufffd\x1b[0m",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize(("line", "expected"), EFI_LINES.values(), ids=EFI_LINES)
def test_an_efi_line_of_each_kernel_is_read(prefix, line, expected):
    assert read_map(prefix + line + "\n").descriptors == (expected,)


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize(("line", "expected"), E820_LINES.values(), ids=E820_LINES)
def test_an_e820_line_of_each_kernel_is_read(prefix, line, expected):
    assert read_map(prefix + line + "\r\n").e820 == (expected,)


LONG_NAMES = {
    0: "Reserved", 1: "Loader Code", 2: "Loader Data", 3: "Boot Code", 4: "Boot Data", 5: "Runtime Code",
    6: "Runtime Data", 7: "Conventional Memory", 8: "Unusable Memory", 9: "ACPI Reclaim Memory",
    10: "ACPI Memory NVS", 11: "Memory Mapped I/O", 12: "MMIO Port Space", 13: "PAL Code", 14: "Persistent Memory",
}  # fmt: skip
SHORT_NAMES = {
    7: "Conventional", 8: "Unusable", 9: "ACPI Reclaim", 10: "ACPI Mem NVS", 11: "MMIO", 12: "MMIO Port",
    13: "PAL Code", 14: "Persistent", 15: "Unaccepted",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [*LONG_NAMES.items(), *SHORT_NAMES.items()])
def test_every_name_of_a_memory_type_gives_its_number(kind, name):
    text = f"efi: mem00: [{name:<19}|   |  |  |  |  |  |  |   |WB|WT|WC|UC] {INCLUSIVE}\n"
    assert read_map(text).descriptors == (descriptor(kind, 0xF, 0x7E4C0000, 0x80),)


def test_the_colours_of_dmesg_do_no_harm():
    coloured = "\x1b[32m[    0.000000] \x1b[0m\x1b[33mBIOS-e820: \x1b[0m[mem 0x0-0x9ffff] usable\x1b[0m\n"
    assert read_map(coloured).e820 == (E820Entry(0, 0xA0000, 1),)


def test_user_lines_go_to_the_user_list_in_both_styles():
    new = read_map(
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable\n"
        "e820: user-defined physical RAM map:\n"
        "user: [mem 0x0000000000000000-0x000000000000ffff] reserved\n"
    )
    assert new.e820 == (E820Entry(0, 0xA0000, 1),)
    assert new.user_e820 == (E820Entry(0, 0x10000, 2),)
    old = read_map(" user: 0000000000000000 - 0000000000010000 (reserved)\n")
    assert old.user_e820 == (E820Entry(0, 0x10000, 2),)


def test_a_list_that_restarts_is_a_reprint():
    first = "efi: mem00: type=7, attr=0xf, range=[0x0000000000000000-0x0000000000001000) (0MB)\n"
    second = "efi: mem01: type=4, attr=0xf, range=[0x0000000000001000-0x0000000000003000) (0MB)\n"
    found = read_map(first + second + "something else\n" + first + first)
    assert found.descriptors == (descriptor(7, 0xF, 0, 1), descriptor(4, 0xF, 0x1000, 2))
    assert found.reprints == ((descriptor(7, 0xF, 0, 1),), (descriptor(7, 0xF, 0, 1),))


OTHER_LINES = """\
[    0.000000] Command line: memmap=508G$4G user: mem=4G efi=debug
[    0.000000] e820: BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] extended physical RAM map:
[    0.000000] reserve setup_data: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] efi: EFI v2.70 by EDK II
[    0.000000] efi:  SMBIOS=0x7b12e000  ACPI=0x7b37e000  MEMATTR=0x1
[    0.000000] efi: Remove mem48: MMIO range=[0x80000000-0x8fffffff] (256MB) from e820 map
[    0.000000] efi: Not removing mem49: MMIO range=[0xfed1c000-0xfed1ffff] (16KB) from e820 map
[    0.000000] e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
[    0.000000] e820: remove [mem 0x000a0000-0x000fffff] usable
[    0.000000] e820: last_pfn = 0x21e600 max_arch_pfn = 0x400000000
[    0.000000] e820: [mem 0x90000000-0xfed1bfff] available for PCI devices
[    0.000000] init_memory_mapping: [mem 0x00000000-0x000fffff]
[    0.000000]  [mem 0x00000000-0x000fffff] page 4k
[    0.334653] efi: memattr:  0x0000bea6c000-0x0000bea70fff [Runtime Data       |RUN|  |  |  |XP|   |UC]
[    0.371348] e820: reserve RAM buffer [mem 0x00058000-0x0005ffff]
[    9.000000] systemd[1]: Started a session for user: root.
e820 update range: 0000000000000000 - 0000000000001000 (usable) ==> (reserved)
"""


def test_other_lines_about_memory_are_not_entries():
    found = read_map(OTHER_LINES)
    assert found.e820 == (E820Entry(0, 0xA0000, 1),)
    assert (found.descriptors, found.user_e820, found.reprints) == ((), (), ())


E820_LINE = "BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable"
EFI_LINE = "efi: mem00: type=7, attr=0xf, range=[0x0000000000000000-0x0000000000001000) (0MB)"
# The second line of the text is bad, except where the line number is None.
BAD_LOGS = {
    "nothing in it": ("Linux version 3.5.0\n", None, "expected lines such as"),
    "an empty log": ("\n", None, "expected lines such as"),
    "a cut e820 range": ("x\nBIOS-e820: [mem 0x00000000000\n", 2, "damaged e820 entry; expected"),
    "a cut e820 word": ("x\nBIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usab\n", 2, "unknown e820 word"),
    "no e820 word": ("x\nBIOS-e820: [mem 0x0000000000000000-0x000000000009ffff]\n", 2, "damaged e820 entry"),
    "an e820 tag alone": ("x\n[    0.000000] BIOS-e820\n", 2, "damaged e820 entry"),
    "a bad hex digit": ("x\nBIOS-e820: [mem 0x000000000000000g-0x000000000009ffff] usable\n", 2, "damaged e820 entry"),
    "a cut old e820 line": ("x\n BIOS-e820: 0000000000000000 - 00000000\n", 2, "damaged e820 entry"),
    "a cut bracket": ("x\n BIOS-e820: 0000000000000000 - 000000000009fc00 (usab\n", 2, "unknown e820 word '(usab'"),
    "a cut user line": ("x\nuser: [mem 0x0000000\n", 2, "damaged e820 entry"),
    "an unknown word": ("x\nBIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] edible\n", 2, "expected usable"),
    "a type too big": ("x\nBIOS-e820: [mem 0x0-0xfff] type 4294967296\n", 2, "unknown e820 word"),
    "an e820 end before start": ("x\nBIOS-e820: [mem 0x0000000000002000-0x0000000000000fff] usable\n", 2, "before it"),
    "a cut EFI range": ("x\nefi: mem00: type=7, attr=0xf, range=[0x0000000000000000-0x000000000\n", 2, "damaged EFI"),
    "a cut EFI number": ("x\nefi: mem0\n", 2, "damaged EFI entry; expected"),
    "an EFI tag alone": ("x\nefi: mem\n", 2, "damaged EFI entry"),
    "cut columns": ("x\nefi: mem00: [Boot Data   |   |  |  |\n", 2, "damaged EFI entry"),
    "an unknown column": (f"x\nefi: mem00: [Boot Data   |RUN|ZZ|WB] {INCLUSIVE}\n", 2, "unknown attribute 'ZZ'"),
    "an unknown name": (f"x\nefi: mem00: [Hot Data    |RUN|WB] {INCLUSIVE}\n", 2, "unknown memory type 'Hot Data'"),
    "an EFI type too big": (f"x\nefi: mem00: type=4294967296, attr=0xf, {EXCLUSIVE}\n", 2, "number of 32 bits"),
    "an EFI end before start": ("x\nefi: mem00: type=7, attr=0xf, range=[0x2000-0x1000) (0MB)\n", 2, "before it"),
    "half a page": ("x\nefi: mem00: type=7, attr=0xf, range=[0x0-0x800) (0MB)\n", 2, "whole number of 4 KiB pages"),
    "a lost EFI line": (EFI_LINE + "\n" + EFI_LINE.replace("mem00", "mem02") + "\n", 2, "mem02 where mem01"),
    "a lost start": ("x\n" + EFI_LINE.replace("mem00", "mem37") + "\n", 2, "mem37 where mem00"),
    "a second boot": (
        E820_LINE + "\n" + E820_LINE.replace("usable", "reserved") + "\n",
        2,
        "log of one boot, or --boot N: 1 in lines 1 to 1, 2 in lines 2 to 2",
    ),
}


@pytest.mark.parametrize(("text", "line", "expected"), BAD_LOGS.values(), ids=BAD_LOGS)
def test_a_bad_log_is_refused_with_its_line(text, line, expected):
    with pytest.raises(MapError) as caught:
        read_map(text)
    message = str(caught.value)
    assert message.startswith("<text>: " if line is None else f"<text>:{line}: ")
    assert expected in message
    assert "\n" not in message


def test_an_error_in_a_file_names_the_file_and_the_line(tmp_path):
    log = tmp_path / "boot.log"
    log.write_text("one\ntwo\nBIOS-e820: [mem 0x00\n")
    with pytest.raises(MapError) as caught:
        read_map(log)
    assert str(caught.value).startswith(f"{log}:3: damaged e820 entry")


def test_a_file_that_is_not_there_or_cannot_be_read_is_an_error(tmp_path):
    for path in (tmp_path / "missing.log", tmp_path, "", "\0", "x" * 5000):
        with pytest.raises(MapError, match="expected a readable file") as caught:
            read_map(path)
        assert "\n" not in str(caught.value)


def test_bad_bytes_around_a_good_log_do_no_harm(tmp_path):
    log = tmp_path / "serial.log"
    log.write_bytes(b"\xff\xfe\x00boot\n" + E820_LINE.encode() + b"\r\n\x80\x81")
    assert read_map(log) == MemoryMap("serial", e820=(E820Entry(0, 0xA0000, 1),))
    assert read_map(str(log)) == read_map(log)


@given(st.binary())
def test_binary_garbage_is_an_error_and_no_traceback(tmp_path_factory, garbage):
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(garbage)
    with pytest.raises(MapError):
        read_map(path)


def refusal(text):
    """What read_map says against `text`; empty when it reads it."""
    try:
        read_map(text)
    except MapError as error:
        return str(error)
    return ""


@given(
    st.sampled_from([line for line, _ in (*EFI_LINES.values(), *E820_LINES.values())]),
    st.data(),
)
def test_a_line_with_a_damaged_character_is_read_or_refused(line, data):
    position = data.draw(st.integers(0, len(line) - 1))
    damaged = line[:position] + data.draw(st.characters(codec="utf-8")) + line[position + 1 :]
    assert "\n" not in refusal(damaged + "\n")


@pytest.mark.parametrize("line", [EFI_LINES["3.5"][0], EFI_LINES["6.1"][0], E820_LINE], ids=["3.5", "6.1", "e820"])
def test_a_line_cut_inside_its_numbers_is_never_lost(line):
    """Cut anywhere from the tag on up to the end of the range, a line is an error: never less memory than there is.

    A cut EFI list beside a whole e820 list is told, and not used.
    """
    start, behind = line.index("mem0") if "mem0" in line else len("BIOS-e820"), max(map(line.rfind, "])"))
    if "MB)" in line:
        behind = line.index(" (0MB)") - 1
    for end in range(start + 3, behind + 1):
        text = E820_LINES["one byte"][0] + "\n" + line[:end] + "\n"
        if line is E820_LINE:
            with pytest.raises(MapError):
                read_map(text)
        else:
            found = read_map(text)
            assert (found.e820, found.descriptors) == ((E820_LINES["one byte"][1],), ())
            assert "a damaged list is not used: line 2: damaged EFI entry" in found.notes[0]


DATA_FILE = '''\
# a comment
name = "small"
title = "A small machine"
kernel = "3.5.0"
source = "typed by hand"
licence = "none needed"
notes = ["one", "two"]

e820 = """
# start end word
0x0 0xa0000 usable
  0x100000 0x80000000   ACPI NVS  # with a comment

0x80000000 0x80000001 type 20
"""
user_e820 = """0x0 0x1000 persistent (type 7)"""
efi = """
EfiConventionalMemory 0xF 0x0 0xA0000
2147483648 0x8000000000000000 0x100000 0x100000
"""
reprints = ["""
7 0xf 0x0 0x1000
""", ""]
'''


def test_a_data_file_is_read_as_its_readme_says(tmp_path):
    expected = MemoryMap(
        name="small",
        descriptors=(descriptor(7, 0xF, 0, 0xA0), descriptor(0x80000000, RUNTIME, 0x100000, 0)),
        e820=(E820Entry(0, 0xA0000, 1), E820Entry(0x100000, 0x80000000, 4), E820Entry(0x80000000, 0x80000001, 20)),
        user_e820=(E820Entry(0, 0x1000, 7),),
        reprints=((descriptor(7, 0xF, 0, 1),), ()),
        title="A small machine",
        kernel="3.5.0",
        source="typed by hand",
        licence="none needed",
        notes=("one", "two"),
    )
    path = tmp_path / "small.toml"
    path.write_text(DATA_FILE)
    assert read_map(DATA_FILE) == read_map(path) == expected
    assert 'kernel = "3.5.0"\n' in write_map(expected)


BAD_DATA = {
    "no TOML": ('name = "x\n', "<text>: expected a data file in TOML"),
    "too deep": ('name = "x"\nnotes = ' + ("[" * 1000 + "\n") * 60, "<text>: expected a data file in TOML"),
    "too long a line": ('name = "x"\ntitle = "' + "x" * 5000 + '"\n', "<text>:2: expected a data file of at most"),
    "no list": ('name = "x"\n', "<text>: expected a name, and at least one of"),
    "a wrong key": ('name = "x"\ncolour = "red"\n', "<text>: unknown key 'colour'; expected name"),
    "a wrong value": ('name = "x"\ntitle = 3\n', "<text>: title: expected a string"),
    "a wrong note": ('name = "x"\nnotes = [3]\n', "<text>: notes: expected a list of strings"),
    "a cut row": ('name = "x"\ne820 = """\n0x0 0x1000 usable\n0x1000 0x\n"""\n', "<text>:4: expected '0xSTART"),
    "an unknown word": ('name = "x"\ne820 = """\n0x0 0x1000 edible\n"""\n', "<text>:3: unknown e820 word 'edible'"),
    "an end before start": ('name = "x"\ne820 = """\n0x2000 0x1000 usable\n"""\n', "<text>:3: the range ends before"),
    "an end too far": ('name = "x"\ne820 = """\n0x0 0x10000000000000001 usable\n"""\n', "<text>:3: the range ends"),
    "a cut descriptor": ('name = "x"\nefi = """\n7 0xf 0x0\n"""\n', "<text>:3: expected 'type 0xATTRIBUTE"),
    "an unknown type": ('name = "x"\nefi = """\nEfiHot 0xf 0x0 0x1000\n"""\n', "<text>:3: unknown memory type"),
    "half a page": ('name = "x"\nefi = """\n7 0xf 0x0 0x800\n"""\n', "<text>:3: 0x0 to 0x800 is 0x800 bytes; expected"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_DATA.values(), ids=BAD_DATA)
def test_a_bad_data_file_is_refused(text, expected):
    with pytest.raises(MapError) as caught:
        read_map(text)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_a_virtual_address_cannot_be_written():
    with pytest.raises(ValueError, match="expected virtual address 0, found 0xffff880000000000"):
        write_map(MemoryMap("x", descriptors=(EfiMemoryDescriptor(7, 0, 0xFFFF880000000000, 1, 0xF),)))


PAGES_IN_64_BITS = 1 << 52
TEXTS = st.text(st.characters(codec="utf-8"))
E820_ENTRIES = st.tuples(st.integers(0, 1 << 64), st.integers(0, 1 << 64), st.integers(0, 0xFFFFFFFF)).map(
    lambda drawn: E820Entry(min(drawn[:2]), max(drawn[:2]), drawn[2])
)
DESCRIPTORS = st.integers(0, PAGES_IN_64_BITS - 1).flatmap(
    lambda page: st.builds(
        EfiMemoryDescriptor,
        type=st.integers(0, 0xFFFFFFFF) | st.integers(0, 15),
        physical_start=st.just(page << 12),
        virtual_start=st.just(0),
        number_of_pages=st.integers(0, PAGES_IN_64_BITS - page),
        attribute=st.integers(0, (1 << 64) - 1),
    )
)
MAPS = st.builds(
    MemoryMap,
    name=TEXTS,
    descriptors=st.lists(DESCRIPTORS, max_size=5).map(tuple),
    e820=st.lists(E820_ENTRIES, min_size=1, max_size=5).map(tuple),
    user_e820=st.lists(E820_ENTRIES, max_size=5).map(tuple),
    reprints=st.lists(st.lists(DESCRIPTORS, max_size=3).map(tuple), max_size=3).map(tuple),
    title=TEXTS,
    source=TEXTS,
    kernel=TEXTS,
    licence=TEXTS,
    notes=st.lists(TEXTS, max_size=3).map(tuple),
)


@given(MAPS)
def test_a_written_map_reads_back_equal(memory_map):
    assert read_map(write_map(memory_map)) == memory_map


def test_every_data_file_is_named_after_its_machine_and_says_where_it_comes_from():
    files = sorted(DATA.glob("*.toml"))
    assert len(files) >= 7
    for path in files:
        found = read_map(path)
        assert found.name == path.stem
        assert found.title
        assert found.source
        assert found.licence
        assert f"`{path.stem}`" in (DATA / "README.md").read_text(encoding="utf-8")


def test_a_data_file_written_again_is_the_same_file():
    for path in DATA.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        assert write_map(read_data_file(text, path.name)) == text


# From the list that came with the logs and was made without this reader: EFI entries in the first list, entries in
# the lists printed again, e820 entries, end of the highest usable range.  Where that list gives no number, e820 is
# the number of "BIOS-e820:" lines and the end is the kernel's own last_pfn * 4096 (jumper prints none: last usable).
LOG_TABLE = {
    "hp-superdome2-16s-3tib-linux-2.6.32.dmesg.txt": (50, 0, 32, 0x320_0000_0000),
    "supermicro-as-4125gs-genoa-1.5tib-linux-5.14.dmesg.txt": (0, 0, 38, 0x183_FD0C_0000),
    "supermicro-sys-2029bt-1.5tib-linux-4.15.dmesg.txt": (0, 0, 16, 0x180_4000_0000),
    "aic-fb201-lx-1.5tib-legacy-user-memmap-linux-4.17.dmesg.txt": (0, 0, 15, 0x180_4000_0000),
    "amd-titanite-1.5tib-linux-6.16.dmesg.txt": (0, 0, 44, 0x183_FD0C_0000),
    "amd-ethanol-x-milan-1tib-hole-at-1tib-linux-5.11.dmesg.txt": (0, 0, 41, 0x17F_FFC0_0000),
    "dell-r7425-naples-1tib-linux-4.19.dmesg.txt": (0, 0, 31, 0x100_7FF8_0000),
    "dell-r7425-naples-1tib-kdump-kernel-linux-4.19.dmesg.txt": (0, 0, 5, 0x36F6_E000),
    "hp-dl585-g7-opteron-1tib-legacy-linux-5.19.dmesg.txt": (0, 0, 10, 0xFC_FEFF_F000),
    "vm-976gib-8gpu-amd-1tib-hole.dmesg.txt": (0, 0, 11, 0xF4_A400_0000),
    "qemu-q35-ovmf-vm-922gib-linux-6.12.dmesg.txt": (0, 0, 13, 0xE6_E000_0000),
    "amd-volcano-genoa-768gib-linux-5.10.dmesg.txt": (0, 0, 38, 0xC0_4CEC_0000),
    "dss-c621ltg-758gib-linux-5.4.dmesg.txt": (0, 0, 16, 0xBD_8000_0000),
    "supermicro-sys-1029u-trt-optane-1.4tib-linux-5.11.dmesg.txt": (0, 0, 19, 0xDE_4000_0000),
    "intel-brickland-512gib-crossing-512gib-linux-6.2.dmesg.txt": (50, 17, 12, 0x80_8000_0000),
    "dell-r630-64gib-250-efi-descriptors-linux-3.10.dmesg.txt": (250, 0, 12, 0x1080000 << 12),
    "nutanix-ahv-ovmf-vm-12gib-linux-3.10.dmesg.txt": (116, 0, 11, 0x380000 << 12),
    "ovmf-mixed-mode-ia32-efi-3gib-linux-5.6.dmesg.txt": (46, 38, 18, 0xBFEF4 << 12),
    "asus-ux391fa-16gib-esrt-linux-5.3.dmesg.txt": (49, 30, 16, 0x47E000 << 12),
    "lenovo-x240-8gib-linux-old-efi.dmesg.txt": (51, 0, 18, 0x21E600 << 12),
    "apple-macpro1-1-efi32-16gib-i686-linux-5.10.dmesg.txt": (0, 0, 15, 0x480000 << 12),
    "jumper-ezpad-tablet-4gib.dmesg.txt": (0, 0, 25, 0x1_4000_0000),
    "adlink-nanox-bt-bay-trail-4gib-linux-6.14.dmesg.txt": (0, 0, 28, 0x160000 << 12),
    "framework-desktop-strix-halo-128gib.dmesg.txt": (0, 0, 19, 0x1E7E0C0 << 12),
    "hp-dl388p-gen8-48gib.dmesg.txt": (0, 0, 9, 0xC3FFFF << 12),
    "alienware-m11x-4gib-legacy-linux-3.16.dmesg.txt": (0, 0, 18, 0x160000 << 12),
    "gce-vm-8gib-linux-6.11.dmesg.txt": (0, 0, 7, 0x240000 << 12),
    "microsoft-surface-book-8gib.dmesg.txt": (0, 0, 17, 0x26F800 << 12),
}

# Lists of other systems, the entries counted by hand: EFI, e820, end of the highest usable range.
OTHER_LISTS = {
    "apple-intel-mac-2006-efi32-2gib-shell-memmap-and-kernel-map.txt": (35, 20, 0x7EEC_2000),
    "apple-macbookair5-1-8gib-freebsd-12.1.physmem.txt": (0, 12, 0x2_5FDD_5000),
    "intel-server-32gib-memmap-pmem.iomem.txt": (0, 17, 0x8_8000_0000),
    "xen-4.15-dom0-on-azure-64gib-linux-5.18.txt": (0, 8, 0x10_E000_0000),
}


@pytest.mark.parametrize(("name", "expected"), LOG_TABLE.items(), ids=LOG_TABLE)
def test_a_real_log_gives_the_counts_and_the_top_of_its_list(logs, name, expected):
    found = read_map(logs / name)
    reprinted = sum(map(len, found.reprints))
    assert (len(found.descriptors), reprinted, len(found.e820), found.top_of_ram) == expected


def test_the_user_map_of_a_real_log_is_read_too(logs):
    found = read_map(logs / "aic-fb201-lx-1.5tib-legacy-user-memmap-linux-4.17.dmesg.txt")
    assert len(found.user_e820) == 19
    assert E820Entry(0x18FFFFFFFF, 0x1900000000, 1) in found.user_e820


@pytest.mark.parametrize(("name", "expected"), OTHER_LISTS.items(), ids=OTHER_LISTS)
def test_the_lists_of_other_systems_are_read(logs, name, expected):
    found = read_map(logs / name)
    assert (len(found.descriptors), len(found.e820), found.top_of_ram) == expected
    assert found.notes


def test_every_oops_has_no_map_and_says_so(logs):
    others = [path for path in logs.glob("*.txt") if path.name not in LOG_TABLE.keys() | OTHER_LISTS.keys()]
    assert others
    for path in others:
        assert path.name.startswith("oops-")
        with pytest.raises(MapError, match="no memory map; expected lines such as"):
            read_map(path)


ORIGINALS = {
    "hp-superdome2-3tib": "hp-superdome2-16s-3tib-linux-2.6.32.dmesg.txt",
    "intel-brickland-512gib": "intel-brickland-512gib-crossing-512gib-linux-6.2.dmesg.txt",
    "amd-ethanol-x-1tib": "amd-ethanol-x-milan-1tib-hole-at-1tib-linux-5.11.dmesg.txt",
    "thinkpad-x240-8gib": "lenovo-x240-8gib-linux-old-efi.dmesg.txt",
    "ovmf-vm-12gib": "nutanix-ahv-ovmf-vm-12gib-linux-3.10.dmesg.txt",
    "dell-r630-64gib": "dell-r630-64gib-250-efi-descriptors-linux-3.10.dmesg.txt",
}
OUR_MACHINE, OUR_LOG = "qemu-ovmf-514gib-linux-3.5", "2-linux-3.5.0-buffer-above-512G.log"


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.toml")))
def test_a_data_file_holds_the_numbers_of_its_log(logs, name):
    log = opened(BOOTS / OUR_LOG) if name == OUR_MACHINE else logs / ORIGINALS[name]
    ours, theirs = read_map(DATA / f"{name}.toml"), read_map(log)
    assert ours.descriptors == theirs.descriptors
    assert ours.e820 == theirs.e820
    assert ours.user_e820 == theirs.user_e820
    assert ours.reprints == theirs.reprints
