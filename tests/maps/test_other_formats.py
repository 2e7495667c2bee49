"""Lists that other systems write: Xen, FreeBSD, the UEFI shell, /proc/iomem and sysfs, each line by hand."""

import io

import pytest

from efimm.maps.formats import MapError, read, read_map
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
