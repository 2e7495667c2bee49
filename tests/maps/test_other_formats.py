"""Lists that other systems write: Xen, FreeBSD, the UEFI shell, /proc/iomem and sysfs, each line by hand."""

import io
import json

import pytest

from efimm.maps.formats import MapError, read, read_map
from efimm.maps.redact import redacted_text
from efimm.uefi.memmap import E820Entry, EfiMemoryDescriptor

RUNTIME = 1 << 63
# Types of the e820 list and of the EFI list: ACPI specification, 15.1, and UEFI specification, AllocatePages.
RAM, RESERVED, ACPI, NVS, PMEM, PRAM = 1, 2, 3, 4, 7, 12
RT_CODE, RT_DATA, CONVENTIONAL, MMIO = 5, 6, 7, 11


def descriptor(kind, attribute, start, pages):
    return EfiMemoryDescriptor(kind, start, 0, pages, attribute)


XEN_NOW = """\
(XEN) Initial Xen-e820 RAM map:
(XEN)  [0000000000000000, 000000000009ffff] (usable)
(XEN)  [0000000000100000, 00000000ffffffff] (usable)
(XEN) Xen-e820 RAM map:
(XEN) [    0.000000]  [0000000000000000, 000000000009b7ff] (usable)
(XEN) [0000001b4dd165de]  [000000000009f800, 000000000009ffff] (reserved)
(XEN)  [00000000cfcf0000, 00000000cfcf0fff] (ACPI NVS)
(XEN)  [00000000cfcf1000, 00000000cfcfffff] (ACPI data)
(XEN)  [00000000d0000000, 00000000d0000fff] type 20
(XEN) System RAM: 2047MB (2096636kB)
(XEN) Dom0 memory map:
(XEN)  [0000000000000000, 00000000ffffffff] (usable)
"""
XEN_OLD = """\
(XEN) Xen-e820 RAM map:
(XEN)  0000000000000000 - 000000000009b800 (usable)
(XEN)  000000000009f800 - 00000000000a0000 (reserved)
"""


def test_the_list_of_xen_is_read_in_both_styles():
    first = (E820Entry(0, 0x9B800, RAM), E820Entry(0x9F800, 0xA0000, RESERVED))
    assert read_map(XEN_OLD).e820 == first
    assert read_map(XEN_NOW).e820 == (
        *first,
        E820Entry(0xCFCF0000, 0xCFCF1000, NVS),
        E820Entry(0xCFCF1000, 0xCFD00000, ACPI),
        E820Entry(0xD0000000, 0xD0001000, 20),
    )


def test_xen_on_uefi_tells_the_efi_list():
    found = read_map(
        "(XEN) EFI RAM map:\n"
        "(XEN)  [0000000000000000, 000000000009ffff] (usable)\n"
        "(XEN) EFI memory map:\n"
        "(XEN)  0000000000000-000000009ffff type=7 attr=000000000000000f\n"
        "(XEN)  000007e4c0000-000007e53ffff type=6 attr=800000000000000f\n"
    )
    assert found.booted_by == "Xen"
    assert found.descriptors == (
        descriptor(CONVENTIONAL, 0xF, 0, 0xA0),
        descriptor(RT_DATA, RUNTIME | 0xF, 0x7E4C0000, 0x80),
    )


def test_the_host_counts_more_than_its_guest():
    guest = "Xen: [mem 0x0000000000000000-0x000000000009efff] usable\n"
    both = read("BIOS-provided physical RAM map:\n" + XEN_OLD + guest)
    assert both.map.e820[-1] == E820Entry(0x9F800, 0xA0000, RESERVED)
    assert [(one.words, one.entries, one.used) for one in both.lists] == [
        ("e820 list of Xen", 2, True),
        ("e820 list of a guest of Xen", 1, False),
    ]
    assert read_map(guest).e820 == (E820Entry(0, 0x9F000, RAM),)
    old = read_map(" Xen: 0000000000000000 - 000000000009f000 (usable)\n")
    assert old.e820 == (E820Entry(0, 0x9F000, RAM),)


IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000bffff : PCI Bus 0000:00
00100000-7e4bffff : System RAM
  01000000-0179fa00 : Kernel code
  02000000-02ffffff : Reserved
80000000-8fffffff : PCI MMCONFIG 0000 [bus 00-ff]
  80000000-8fffffff : reserved
fee00000-fee00fff : Local APIC
100000000-17fffffff : Persistent Memory (legacy)
  100000000-17fffffff : System RAM
180000000-1ffffffff : Persistent Memory
200000000-200000fff : ACPI Tables
"""


def test_iomem_gives_what_the_firmware_listed_and_nothing_inside_it():
    assert read_map(IOMEM).e820 == (
        E820Entry(0, 0x1000, RESERVED),
        E820Entry(0x1000, 0x9FC00, RAM),
        E820Entry(0x100000, 0x7E4C0000, RAM),
        E820Entry(0x80000000, 0x90000000, RESERVED),
        E820Entry(0x100000000, 0x180000000, PRAM),
        E820Entry(0x180000000, 0x200000000, PMEM),
        E820Entry(0x200000000, 0x200001000, ACPI),
    )


SHELL = """\
FS0:\\> memmap
Type       Start            End              # Pages          Attributes
Available  0000000000000000-000000000009FFFF 00000000000000A0 000000000000000F
RT_Data    000000007E4C0000-000000007E53FFFF 0000000000000080 800000000000000F
MMIO       00000000FFE00000-00000000FFFFFFFF 0000000000000200 8000000000000001
80000001   0000008000000000-0000008000000FFF 0000000000000001 000000000000000F

  Reserved  :              0 Pages (0 Bytes)
  RT_Data   :            128 Pages (524,288 Bytes)
"""
SHELL_LIST = (
    descriptor(CONVENTIONAL, 0xF, 0, 0xA0),
    descriptor(RT_DATA, RUNTIME | 0xF, 0x7E4C0000, 0x80),
    descriptor(MMIO, RUNTIME | 1, 0xFFE00000, 0x200),
    descriptor(0x80000001, 0xF, 0x8000000000, 1),
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_the_shells_memmap_is_read_as_its_redirection_writes_it(encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    found = read_map(io.BytesIO((mark + SHELL.replace("\n", "\r\n")).encode(encoding)))
    assert found.descriptors == SHELL_LIST
    assert (found.e820, found.booted_by) == ((), "UEFI")


def test_a_second_memmap_of_the_shell_is_a_reprint():
    found = read_map(SHELL + SHELL)
    assert (found.descriptors, found.reprints) == (SHELL_LIST, (SHELL_LIST,))


SFO = """\
ShellCommand,"memmap"
MemoryMap,"Available","0","9FFFF","A0","F"
MemoryMap,"RuntimeData","7E4C0000","7E53FFFF","80","800000000000000F"
MemoryMap,"MemoryMappedIO","FFE00000","FFFFFFFF","200","8000000000000001"
MemoryMapSummary,"0","0"
"""


def test_the_shells_standard_format_output_is_the_same_list():
    found = read_map(SFO + SFO)
    assert (found.descriptors, found.reprints) == (SHELL_LIST[:3], (SHELL_LIST[:3],))
    with pytest.raises(MapError, match="<text>:3: damaged line of the shell's memmap"):
        read_map(SFO.replace('"80"', '"81"'))


GRUB = """\
Type      Physical start  - end             #Pages        Size Attributes
conv-mem  0000000000000000-000000000009efff 0000009f    636KiB UC WC WT WB
reserved  000000000009f000-00000000000fffff 00000061    388KiB
MMIO      00000000fec00000-00000000fec00fff 00000001      4KiB RT UC
RT-data   000000007e4c0000-000000007e53ffff 00000080    512KiB RT UC WC WT WB
conv-mem  0000000100000000-000000bfffffffff 0bf00000    764GiB UC WC WT WB
"""


def test_each_row_of_grubs_list_is_one():
    """`reserved` and `MMIO` are names of the shell's rows as well, of which a mailer may have wrapped the rest."""
    found = read_map(GRUB)
    assert [(each.type, each.physical_start) for each in found.descriptors] == [
        *((CONVENTIONAL, 0), (0, 0x9F000), (MMIO, 0xFEC00000), (RT_DATA, 0x7E4C0000), (CONVENTIONAL, 0x100000000))
    ]


def test_what_a_kernel_prints_below_the_shells_list_does_not_damage_it():
    found = read_map(SHELL + "[    1.000000] pcieport:   TLP Header: 60000008 000000ff 00000001 00000000\n")
    assert found.descriptors == SHELL_LIST


def test_what_openbsds_loader_lists_is_read():
    found = read_map("Region 0: type 1 at 0x0 for 639KB\nRegion 1: type 1 at 0x100000 for 2096128KB\n")
    assert found.e820 == (E820Entry(0, 0x9FC00, RAM), E820Entry(0x100000, 0x80000000, RAM))


LSMMAP = """\
base_addr = 0x0, length = 0x9f000, available RAM
base_addr = 0x9f000, length = 0x1000, type = 0x2
base_addr = 0x100000, length = 0x100000, persistent RAM (legacy)
base_addr = 0x8000000000, length = 0x40000000, available RAM
"""


def test_grubs_lsmmap_is_an_e820_list():
    found = read_map(LSMMAP)
    assert found.e820 == (
        E820Entry(0, 0x9F000, RAM),
        E820Entry(0x9F000, 0xA0000, RESERVED),
        E820Entry(0x100000, 0x200000, PRAM),
        E820Entry(0x80_0000_0000, 0x80_4000_0000, RAM),
    )
    assert found.booted_by == ""
    with pytest.raises(MapError, match="<text>:1: damaged line of lsmmap"):
        read_map(LSMMAP.replace("0x9f000, avail", "0x9fx00, avail"))


FREEBSD = """\
FreeBSD 12.1-RELEASE
SMAP type=01 base=0000000000000000 len=000000000009fc00
SMAP type=02 base=000000000009fc00 len=0000000000000400
                   Type     Physical      Virtual   #Pages Attr
     ConventionalMemory 000000000000          0x0 000000a0 UC WC WT WB \n\
    RuntimeServicesData 00007e4c0000 000000000000 00000080 UC WC WT WB RUNTIME
real memory  = 8589934592 (8192 MB)
Physical memory chunk(s):
0x0000000000010000 - 0x000000000008dfff, 516096 bytes (126 pages)
avail memory = 8157339648 (7779 MB)
"""


def test_each_list_of_freebsd_is_read():
    found = read(FREEBSD)
    assert found.map.e820 == (E820Entry(0, 0x9FC00, RAM), E820Entry(0x9FC00, 0xA0000, RESERVED))
    assert found.map.descriptors == SHELL_LIST[:2]
    assert [one.entries for one in found.lists] == [2, 2, 1]
    chunks = "".join(FREEBSD.splitlines(keepends=True)[-3:])
    assert read_map(chunks).e820 == (E820Entry(0x10000, 0x8E000, RAM),)


def test_freebsds_lines_may_be_wrapped():
    for line in FREEBSD.splitlines():
        if "SMAP" in line or "0x00" in line:
            at = line.rindex(" ")
            assert read_map(FREEBSD.replace(line, f"{line[:at]}\n{line[at + 1 :]}")).e820 == read_map(FREEBSD).e820
    assert read_map("SMAP type=01 base=0000000000000000 len=000000000009fc00 attr=01\n").e820 == (
        E820Entry(0, 0x9FC00, RAM),
    )


def test_freebsds_own_chunks_count_only_without_its_efi_list():
    found = read("".join(line for line in FREEBSD.splitlines(keepends=True) if "SMAP" not in line))
    assert (found.map.e820, len(found.map.descriptors)) == ((), 2)
    assert [one.used for one in found.lists] == [True, False]


def test_a_large_piece_in_freebsds_efi_list_is_not_lost():
    """Physical addresses of 12 digits, pages of 8 (`%012jx %12p %08jx`): of a large one few are leading zeros."""
    more = "".join(
        f"ConventionalMemory {start:012x}          0x0 {pages:08x} UC WC WT WB \n"
        for start, pages in ((0x80_0000_0000, 0x800_0000), (0x1000_0000_0000, 0xF00_0000))
    )
    found = read("".join(FREEBSD.splitlines(keepends=True)[:6]) + more)
    assert [d.physical_start for d in found.map.descriptors][-2:] == [0x80_0000_0000, 0x1000_0000_0000]


FREEBSD_EFI = "".join(FREEBSD.splitlines(keepends=True)[3:6])
CHUNKS = "".join(FREEBSD.splitlines(keepends=True)[-3:])
DAMAGED = {
    "a cut entry of Xen": "(XEN)  [0000000000000000, 00000000000\n",
    "a cut old entry of Xen": "(XEN)  0000000000000000 - 0000000\n",
    "a second list of Xen": XEN_OLD + XEN_OLD.replace("b800", "9800"),
    "an unknown word of Xen": "(XEN)  [0000000000000000, 000000000009b7ff] (edible)\n",
    "hidden addresses": "00000000-00000000 : System RAM\n00000000-00000000 : Reserved\n",
    "two machines' iomem": IOMEM + IOMEM.replace("7e4bffff", "7f4bffff"),
    "an iomem that ends before it starts": "00100000-00000fff : System RAM\n",
    "a cut line of the shell": "RT_Data    000000007E4C0000-000000007E53FFFF 00000000000000\n",
    "a shell's line of too few pages": SHELL.replace("0000000000000080 8", "0000000000000081 8"),
    "a shell's line cut in its range": "RT_Data    000000007E4C0000-0000\n",
    "a chunk of another size": CHUNKS.replace("516096 bytes", "516097 bytes"),
    "a cut chunk": "Physical memory chunk(s):\n0x0000000000010000 - 0x0000\n",
    "a cut SMAP": "SMAP type=01 base=00000000\n",
    "an unknown type of FreeBSD": FREEBSD_EFI.replace("ConventionalMemory", "HotMemory"),
    "an unknown attribute of FreeBSD": FREEBSD_EFI.replace("WB RUNTIME", "WB RUN"),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_list_is_refused_with_its_line(text):
    with pytest.raises(MapError, match=r"^<text>:\d+: \S.*") as caught:
        read_map(text)
    assert "\n" not in str(caught.value)


def write_tree(folder, entries):
    for number, entry in enumerate(entries):
        (folder / str(number)).mkdir(parents=True)
        for name, value in entry.items():
            (folder / str(number) / name).write_text(value + "\n")


MEMMAP = [{"start": hex(k << 20), "end": hex((k + 1 << 20) - 1), "type": "System RAM"} for k in range(11)]
MEMMAP += [{"start": "0xfee00000", "end": "0xfee00fff", "type": "Reserved"}]
RUNTIME_MAP = [
    {
        "type": "0x5",
        "phys_addr": "0x7e4c0000",
        "virt_addr": "0xfffffffefee00000",
        "num_pages": "0x80",
        "attribute": "0x800000000000000f",
    }
]


def test_the_directories_of_sysfs_are_read(tmp_path):
    firmware = tmp_path / "firmware"
    write_tree(firmware / "memmap", MEMMAP)
    bios = read_map(firmware)
    assert len(bios.e820) == 12
    assert bios.e820[10:] == (E820Entry(10 << 20, 11 << 20, RAM), E820Entry(0xFEE00000, 0xFEE01000, RESERVED))
    assert bios.booted_by == "BIOS"
    write_tree(firmware / "efi" / "runtime-map", RUNTIME_MAP)
    assert read_map(firmware).e820 == bios.e820 == read_map(firmware / "memmap").e820
    runtime = (descriptor(RT_CODE, RUNTIME | 0xF, 0x7E4C0000, 0x80),)
    assert read_map(firmware).descriptors == runtime == read_map(firmware / "efi" / "runtime-map").descriptors
    assert read_map(firmware).booted_by == "UEFI"


@pytest.mark.parametrize(
    ("name", "value"), [("start", "zero"), ("end", ""), ("type", "\x1b[31mHot"), ("start", "0x" + "f" * 17)]
)
def test_a_damaged_file_of_sysfs_is_refused(tmp_path, name, value):
    write_tree(tmp_path / "memmap", [MEMMAP[0] | {name: value}])
    with pytest.raises(MapError, match=f"0/{name}: ") as caught:
        read_map(tmp_path)
    assert "\x1b" not in str(caught.value)


TOLD = """\
[    0.000000] Linux version 4.17.2 (someone@somewhere) (gcc version 7.3.0) #7 SMP
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] efi: EFI v2.70 by American Megatrends
[    0.000000] DMI: Memory slots populated: 1/1
[    0.000000] DMI: Some Maker Machine/Board, BIOS 1.0 01/01/2020
"""


def test_a_log_tells_the_kernel_the_machine_and_who_started_it():
    found = read_map(TOLD)
    assert (found.kernel, found.title) == ("4.17.2", "Some Maker Machine/Board, BIOS 1.0 01/01/2020")
    assert found.booted_by == "UEFI"


def test_a_log_without_a_word_of_efi_is_of_a_bios_only_if_it_goes_far_enough():
    lines = TOLD.splitlines(keepends=True)
    assert read_map("".join([*lines[:2], *lines[3:]])).booted_by == "BIOS"
    assert read_map("".join(lines[:2])).booted_by == ""
    assert read_map("".join([lines[1], *lines[3:]])).booted_by == ""


# Logs as they are pasted: each way of spoiling one, and what is to be read all the same.
PASTED = (
    "[    0.000000] Linux version 4.18.0-77 (b@c) (gcc version 8.2.1) #3 SMP",
    "[    0.000000] BIOS-provided physical RAM map:",
    "[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009efff] usable",
    "[    0.000000] BIOS-e820: [mem 0x0000000060000000-0x0000000060ffffff] reserved",
    "[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000a07fffffff] usable",
    "[    0.000000] DMI: Maker Machine 7/Board, BIOS 3.1 02/03/2019",
)
PASTED_ENTRIES = (
    E820Entry(0, 0x9F000, RAM),
    E820Entry(0x60000000, 0x61000000, RESERVED),
    E820Entry(0x100000000, 0xA080000000, RAM),
)


def coloured(escape):
    """The log with colours, each begun by `escape`."""
    lines = [line.replace("] ", f"] {escape}[0m{escape}[1;33m", 1) for line in PASTED]
    lines = [line.replace("e820: ", f"e820: {escape}[0m") for line in lines]
    return "\n".join(f"{escape}[32m{line}" for line in lines)


AS_STRINGS = [{"id": f"n{number}", "payload": line} for number, line in enumerate(PASTED)]
SPOILT = {
    **{f"colours after {escape!r}": coloured(escape) for escape in ("\x1b", "^[", "ESC", "<ESC>", "#033", "\\e", "")},
    "colours ended by tput": "\n".join(PASTED).replace("BIOS-e820:", "\x1b[33mBIOS-e820:\x1b(B\x1b[m"),
    "colours ended by tput, shown": "\n".join(PASTED).replace("BIOS-e820:", "^[[33mBIOS-e820:^[(B^[[m"),
    "JSON of other names": json.dumps(AS_STRINGS, indent=1),
    "JSON of strings": json.dumps(PASTED, indent=1),
    "JSON of pairs": json.dumps({"data": {"values": [["1700", line] for line in PASTED]}}),
    "JSON of one string": json.dumps({"Id": "i-1", "Output": "\r\n".join(PASTED)}),
    "JSON that is cut": json.dumps({"Id": "i-1", "Output": "\r\n".join([*PASTED, "[    0.1] more"])})[:-9],
    "JSON with a picture besides": json.dumps({"png": "A" * 70_000, "Output": "\n".join(PASTED)}),
    "JSON with a message besides": json.dumps({"message": "as asked", "body": "\n".join(PASTED)}),
    "two entries on a line": "\n".join(PASTED)
    .replace("\n[    0.000000] BIOS-e820: [mem 0x000000006", " ~")
    .replace("~", "[    0.000000] BIOS-e820: [mem 0x000000006"),
    "two entries on a line, no time": "\n".join(PASTED).replace("\n[    0.000000] BIOS-e820", " BIOS-e820"),
    "one line": " ".join(PASTED),
    "one line, no space": "".join(PASTED),
    "carriage returns": "\r".join(PASTED),
    "carriage returns, much": "\r".join([*PASTED, *["[    1.000000] usb 1-1: a device"] * 4000]),
    "initials": "\n".join(f"RPJ> {line}" for line in PASTED).replace("[mem ", "[mem\nRPJ> "),
    "noted with #": "\n".join(PASTED).replace("ff] usable", "ff] usable   # as the manual says"),
    "noted with an arrow": "\n".join(PASTED).replace("reserved", "reserved => the firmware's"),
    "noted in brackets": "\n".join(PASTED).replace("reserved", "reserved (RAM of the firmware?)"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_log_is_read_however_it_was_pasted(name):
    found = read_map(io.BytesIO(SPOILT[name].encode()))
    assert (found.e820, found.kernel, found.title) == (PASTED_ENTRIES, "4.18.0-77", PASTED[-1].partition("DMI: ")[2])


COLUMNS = "|  |  |  |  |  |  |   |WB|WT|WC|UC]"
WRAPPED_EFI = (
    ("efi: mem00: [Runtime Data", f"|RUN{COLUMNS} range=[0x000000007e4c0000-0x000000007e53ffff]", "(0MB)"),
    ("efi: mem00: [Runtime Data       |RUN|", f"{COLUMNS[1:]} range=[0x000000007e4c0000-0x000000007e53ffff] (0MB)"),
    ("efi: mem00: [Runtime Data", f"|RUN{COLUMNS}", "range=[0x000000007e4c0000-0x000000007e53ffff]"),
)


@pytest.mark.parametrize("marks", ["", "> ", "> > ", "| ", "AB> "])
@pytest.mark.parametrize("pieces", WRAPPED_EFI)
def test_a_column_of_an_entry_is_no_mark_of_a_quotation(marks, pieces):
    found = read_map("".join(f"{marks}{piece}\n" for piece in pieces))
    assert found.descriptors == (descriptor(RT_DATA, RUNTIME | 0xF, 0x7E4C0000, 0x80),)


STAMPED, PLAIN, SYSLOG = "[    0.000000] ", "", "Mar  4 05:06:07 box kernel: "
OPTIONS = "BOOT_IMAGE=/vmlinuz-4 root=/dev/vda3 ro"
COMMAND_LINES = [
    (STAMPED, ("rd.foo=1 quiet noefi",), "rd.foo=1 quiet noefi"),
    (
        STAMPED,
        ("rd.foo=1 quiet", "console=ttyS0 unknownword", "noefi"),
        "rd.foo=1 quiet console=ttyS0 unknownword noefi",
    ),
    (STAMPED, ("noefi,", "says the manual"), ""),
    (STAMPED, ("Does it help to say noefi?",), ""),
    (STAMPED, ("", "noefi"), ""),
    (PLAIN, ("quiet noefi", "Does efi=noruntime help?"), "quiet noefi"),
    (PLAIN, ("efi=noruntime would be the next thing to try",), ""),
    (SYSLOG, ("efi=noruntime memmap=1G!4G",), "efi=noruntime memmap=1G!4G"),
]


@pytest.mark.parametrize("marks", ["", "> ", "AB> "])
@pytest.mark.parametrize(("stamp", "rest", "expected"), COMMAND_LINES)
def test_a_wrapped_command_line_is_whole_and_prose_is_not_in_it(marks, stamp, rest, expected):
    entry = "BIOS-e820: [mem 0x0000000000000000-0x000000000009efff] usable"
    lines = [f"{stamp}Command line: {OPTIONS}", *rest, f"{stamp}{entry}", f"{stamp}Kernel command line: mem=1"]
    found = read(io.BytesIO("\n".join(f"{marks}{line}" for line in lines).encode()))
    assert found.command_line == f"{OPTIONS} {expected}".rstrip()
    assert found.map.e820 == PASTED_ENTRIES[:1]


@pytest.mark.parametrize(
    "before", ["", "Mar  4 05:06:07 box kernel: ", "Mar  4 05:06:07 box kernel: <2>", "[1] ", "> ", "AB> "]
)
def test_the_chunks_of_freebsd_are_read_behind_what_syslog_writes(before):
    lines = ("Physical memory chunk(s):", "0x0000000000001000 - 0x000000000009bfff, 634880 bytes (155 pages)")
    assert read_map("".join(f"{before}{line}\n" for line in lines)).e820 == (E820Entry(0x1000, 0x9C000, RAM),)


@pytest.mark.parametrize(
    "before",
    [
        *("Mar 04 05:06:07 ~ kernel:", "Mar 04 05:06:07.000123 ~ kernel:", "<6>Mar  4 05:06:07 ~ kernel:"),
        *("2019-03-04T05:06:07+0100 ~ kernel:", "2019-03-04T05:06:07.000123+01:00 ~ kernel:"),
        *("Mon 2019-03-04 05:06:07 CET ~ kernel:", "Mon 2019-03-04 05:06:07.000123 UTC ~ cron[7]:"),
        *("1551672367.000123 ~ kernel:", "[   12.000123] ~ kernel:", "[   12.000123] ~ systemd[1]:"),
        *("[   12.000123 <    0.000042 >] ~ kernel:", "<6>1 2019-03-04T05:06:07.1Z ~ kernel - - -"),
        *("<30>1 - ~ cron 712 ID4 -", "> JD> Mar  4 05:06:07 ~ kernel:", "    _HOSTNAME=~"),
    ],
)
def test_the_host_that_each_form_of_a_log_names_is_left_out(before):
    shown = redacted_text(f"{before.replace('~', 'secretbox')} usb 1-1: new device\nit was secretbox\n")
    assert "secretbox" not in shown
    assert shown.startswith(before.split("~", 1)[0])
    assert "usb 1-1: new device" in shown


def test_what_dmesg_prints_names_no_host():
    lines = "[    1.234567] pci 0000:00:1f.0: [8086:1234] type\n[    1.2] usb 1-1: new\n[    2.0] audit: kernel: a\n"
    assert redacted_text(lines) == lines


def test_the_number_of_a_machine_is_left_out():
    assert redacted_text(f"_MACHINE_ID={'0123456789abcdef' * 2}\n") == "_MACHINE_ID=id-1\n"
