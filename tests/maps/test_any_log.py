"""What people really paste: each kind of log, in each kind of wrapping, with numbers that are invented.

The inputs of `CASES` lie beside the project, with the answers in words; these are the answers in numbers.
"""

import base64
import bz2
import gzip
import html
import io
import json
import lzma
import quopri
import re
import tarfile
import tracemalloc
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efimm.check import check, checked
from efimm.maps import signs
from efimm.maps.formats import MapError, read, read_map
from efimm.maps.redact import redacted_text
from efimm.maps.sources import LARGEST_ENCODED
from efimm.uefi.memmap import E820Entry

CASES = Path(__file__).parents[3] / "shared" / "cases" / "logs"
GIB = 1 << 30
LINE = 512 * GIB
HIT = ["3.5", "3.8-rc"]

LOG = """\
[    0.000000] Linux version 4.12.0-test (builder@example) (gcc version 7.1.0) #1 SMP
[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda2 efi=debug
[    0.000000] e820: BIOS-provided physical RAM map:
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x000000006fffffff] usable
[    0.000000] BIOS-e820: [mem 0x0000000070000000-0x00000000701fffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000070200000-0x000000007fffffff] ACPI NVS
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000d07fffffff] usable
[    0.000000] efi: EFI v2.60 by Example Vendor
[    0.000000] efi:  ACPI=0x70200000  SMBIOS=0x70000000
[    0.000000] DMI: Example Corp. Model 1/Board, BIOS 1.0 01/01/2018
[    0.000000] e820: last_pfn = 0xd080000 max_arch_pfn = 0x400000000
"""
ENTRIES = (
    E820Entry(0, 0xA0000, 1),
    E820Entry(0x100000, 0x70000000, 1),
    E820Entry(0x70000000, 0x70200000, 2),
    E820Entry(0x70200000, 0x80000000, 4),
    E820Entry(0x100000000, 0xD080000000, 1),
)


def read_bytes(data, boot=None):
    return read(io.BytesIO(data), boot)


def without(word, text=LOG):
    return "".join(line for line in text.splitlines(keepends=True) if word not in line)


# each case that lies beside the project

# e820 entries, EFI entries, end of RAM, GiB above 512 GiB, who started it, the kernels that are hit
ANSWERS = {
    "efi-2.3.1-called-bios.txt": (3, 0, 0xC080000000, 258, "UEFI", HIT),
    "shell-memmap-above-512g.txt": (0, 6, 0xC080000000, 258, "UEFI", HIT),
    "linux-7.0-words.txt": (7, 0, 0xC080000000, 258, "UEFI", HIT),
    "hexdump-aer-tlp.txt": (3, 0, 0xC080000000, 258, "UEFI", HIT),
    "kexec-called-bios.txt": (4, 0, 0xC080000000, 258, "kexec", []),
    "noefi-on-command-line.txt": (3, 0, 0xC080000000, 258, "UEFI", []),
    "same-map-twice.txt": (3, 0, 0xC080000000, 258, "UEFI", HIT),
    "wrapped-by-mailer.txt": (4, 0, 0xC080000000, 258, "UEFI", HIT),
    "dmesg-json.txt": (5, 6, 0xD080000000, 322, "UEFI", HIT),
    "nbsp-from-a-browser.txt": (5, 6, 0xD080000000, 322, "UEFI", HIT),
    "html-br.txt": (5, 6, 0xD080000000, 322, "UEFI", HIT),
    "boot.log.gz": (5, 6, 0xD080000000, 322, "UEFI", HIT),
    "iomem-hidden-but-dmesg-there.txt": (3, 0, 0xC080000000, 258, "UEFI", HIT),
    "two-machines-in-one-mail.txt": (3, 0, 0xC080000000, 258, "UEFI", HIT),
    "freebsd-sysctl-smap.txt": (4, 0, 0xC080000000, 258, "", HIT),
    "grub-lsefimmap.txt": (0, 6, 0xC080000000, 258, "UEFI", HIT),
    "add-efi-memmap.txt": (2, 4, 0xC080000000, 258, "UEFI", HIT),  # with room for a firmware, which it lacks
    "map-and-firmware-fault.txt": (4, 0, 0x280000000, 0, "UEFI", []),
    "mmio-52.txt": (5, 0, 0xD080000000, 322, "UEFI", HIT),
}


@pytest.mark.parametrize("name", ANSWERS if CASES.is_dir() else ["all"])
def test_each_case_is_answered(name):
    if not CASES.is_dir():
        pytest.skip("the cases (../shared/cases/logs) are not here")
    e820, efi, top, above, starter, hit = ANSWERS[name]
    found = check(CASES / name)

    assert (len(found.reading.map.e820), len(found.reading.map.descriptors)) == (e820, efi)
    assert (found.summary()["highest_ram"], found.reading.map.highest_ram) == (top, top)
    assert found.summary()["above_512_gib"] / GIB == above
    assert (found.reading.map.booted_by, found.hit) == (starter, hit)


def test_the_cases_beside_the_project_all_have_an_answer():
    if not CASES.is_dir():
        pytest.skip("the cases (../shared/cases/logs) are not here")
    elsewhere = {"EXPECTED.md", "arm64-iomem-and-dmesg.txt", "oops-only.txt"}
    assert {path.name for path in CASES.iterdir()} == ANSWERS.keys() | elsewhere


# who started the machine, and of what architecture it is


@pytest.mark.parametrize(
    "sign",
    [
        "efi: EFI v2.3.1 by Example",
        "efi: ACPI=0x70200000 ACPI 2.0=0x70200014",
        "Registered efivars operations",
        "esrt: Reserving ESRT space from 0x000000006c000000 to 0x000000006c000038.",
        "efifb: probing for efifb",
        "Console: switching to colour; fb0: EFI VGA frame buffer device",
        "secureboot: Secure boot enabled",
        "[Firmware Bug]: Page fault caused by firmware at PA: 0xfffe",
        "efi: Remove mem48: MMIO range=[0x80000000-0x8fffffff] (256MB) from e820 map",
    ],
)
def test_every_sign_of_uefi_counts(sign):
    log = without("efi: ").replace("DMI:", f"{sign}\n[    0.000000] DMI:")
    assert read_map(without("efi: ")).booted_by == "BIOS"
    assert read_map(log).booted_by == "UEFI"


@given(st.from_regex(signs._UEFI))
def test_no_sign_of_uefi_lacks_its_mark(line):
    """The marks are looked for first, which is quicker; they must not hide what the expression finds."""
    assert signs.uefi(line)


@pytest.mark.parametrize("words", [signs._X86, *signs._ARCHITECTURES.values()])
@given(st.data())
def test_no_sign_of_an_architecture_lacks_its_mark(words, data):
    line = data.draw(st.from_regex(words).filter(lambda line: "@" not in line))  # a name in an address is passed over
    other = [each for each in (signs._X86, *signs._ARCHITECTURES.values()) if each != words and re.search(each, line)]
    assert other or signs.architecture(line)[0]


def test_what_a_bios_machine_prints_too_is_no_sign_of_uefi():
    log = (
        without("efi: ") + "EFI Variables Facility v0.08 2004-May-17\nsecureboot: Secure boot could not be determined\n"
    )
    assert read_map(log).booted_by == "BIOS"


def test_tables_of_acpi_above_1_mib_are_no_bios():
    bios = without("efi: ")
    assert read_map(bios + "ACPI: RSDP 0x00000000000F05B0 000024 (v02 BOCHS )\n").booted_by == "BIOS"
    assert read_map(bios + "ACPI: RSDP 000000007c1fe014 00024 (v02 EXMPL)\n").booted_by == "kexec"


@pytest.mark.parametrize("option", ["acpi_rsdp=0x7c1fe014", "kexec_jump_back_entry=0x0", "elfcorehdr=867700K"])
def test_a_kernel_that_kexec_started_is_told_apart(option):
    found = check(io.BytesIO(LOG.replace("efi=debug", option).encode()))
    assert (found.booted_by, found.hit) == ("kexec", [])
    assert "the first kernel's call decides" in " ".join(checked(found, "LOG").split())


def test_an_efi_list_of_runtime_regions_alone_is_of_a_second_kernel():
    regions = "efi: mem00: type=6, attr=0x800000000000000f, range=[0x0000000070000000-0x0000000070100000) (1MB)\n"
    assert read_map(LOG + regions).booted_by == "kexec"
    more = "efi: mem01: type=7, attr=0xf, range=[0x0000000000100000-0x0000000070000000) (1791MB)\n"
    assert read_map(LOG + regions + more).booted_by == "UEFI"


IOMEM = "00001000-0009ffff : System RAM\n00100000-6fffffff : System RAM\n100000000-d07fffffff : System RAM\n"
OTHERS = {
    "arm64": "Booting Linux on physical CPU 0x0000000000 [0x481fd010]\nLinux version 5.4.0 (aarch64-linux-gnu-gcc)\n",
    "s390": "Linux version 5.14.0 (mock@s390x.example) (gcc 11)\nsetup: Linux is running under z/VM\n",
    "ia64": "Linux version 2.6.32 (x@y)\nefi: EFI v1.10 by HP: SALsystab=0x3fb38000 ACPI 2.0=0x3fb2e000\n",
    "POWER": "Linux version 5.4.0\nHardware name: IBM pSeries (emulated by qemu) POWER9\n",
    "RISC-V": "Linux version 6.5.0 (riscv64-linux-gnu-gcc)\nSBI specification v1.0 detected\n",
}


@pytest.mark.parametrize("arch", OTHERS)
def test_no_answer_for_another_architecture(arch):
    for text in (OTHERS[arch] + IOMEM, IOMEM + OTHERS[arch]):
        with pytest.raises(MapError, match="expected the log of an x86 machine"):
            read(text)


def test_a_bare_list_is_answered_for_x86_if_it_is_one():
    assert any("if this is one" in note for note in read_map(IOMEM).notes)
    assert not any("if this is one" in note for note in read_map(IOMEM + "000a0000-000bffff : PCI Bus 0000:00\n").notes)
    assert not any("if this is one" in note for note in read_map(LOG).notes)


# what the command line changes


def with_options(words):
    return without("last_pfn", LOG.replace("efi=debug", words))


def test_options_that_forbid_efi_calls():
    for words in ("noefi", "efi=noruntime", "efi=debug,noruntime"):
        found = check(io.BytesIO(with_options(words).encode()))
        assert (found.hit, found.booted_by) == ([], "UEFI")
        assert "makes no EFI call in this boot" in found.no_efi_call
    assert check(io.BytesIO(with_options("efi=debug").encode())).hit == HIT


def test_the_old_mapping_is_noted():
    assert any("efi=old_map" in note for note in read_map(with_options("efi=old_map")).notes)


@pytest.mark.parametrize(
    ("words", "ram"),
    [
        ("mem=4G", ((0, 0xA0000), (0x100000, 0x70000000))),
        ("mem=6G", ((0, 0xA0000), (0x100000, 0x70000000), (4 * GIB, 6 * GIB))),
        ("memmap=1G$8G mem=10G", ((0, 0xA0000), (0x100000, 0x70000000), (4 * GIB, 8 * GIB), (9 * GIB, 10 * GIB))),
        ("memmap=exactmap memmap=640K@0 memmap=1G@1M", ((0, 0xA0000), (0x100000, 0x40100000))),
        ("memmap=2G!4G mem=8G", ((0, 0xA0000), (0x100000, 0x70000000), (6 * GIB, 8 * GIB))),
        ("memmap=nonsense mem=nopentium", tuple((e.start, e.end) for e in ENTRIES if e.type == 1)),
    ],
)
def test_options_of_memory_change_the_list_as_the_kernel_does(words, ram):
    assert read_map(with_options(words)).ram == ram


def test_a_list_of_the_kernels_own_counts_more_than_what_is_worked_out():
    found = read_map(with_options("mem=4G") + "user: [mem 0x0000000000100000-0x000000003fffffff] usable\n")
    assert found.ram == ((0x100000, GIB),)


def test_last_pfn_decides_whether_the_options_were_heard():
    heard, unheard = (
        LOG.replace("efi=debug", "mem=4G").replace("0xd080000 max", f"{pfn} max") for pfn in ("0x70000", "0xd080000")
    )
    assert read_map(heard).highest_ram == 0x70000000
    assert read_map(unheard).highest_ram == 0xD080000000


STAMP = "[    0.000000] "
BIOS_LOG = without("efi:")


@pytest.mark.parametrize(
    "sign",
    [
        "Kernel is locked down from EFI Secure Boot mode; see man kernel_lockdown.7",
        "integrity: Loading X.509 certificate: UEFI:db",
        "efivarfs on /sys/firmware/efi/efivars type efivarfs (rw,nosuid)",
        "BootCurrent: 0001",
        "  ACPI=0x70200000  ACPI 2.0=0x70200014  SMBIOS=0x70000000",
        "Mobo: Example model: X v: 1 UEFI: American Megatrends v: 1.2 date: 01/01/2018",
    ],
)
def test_signs_that_come_later_or_from_elsewhere_count_too(sign):
    assert read_map(BIOS_LOG).booted_by == "BIOS"
    assert read_map(f"{BIOS_LOG}[    9.000000] {sign}\n").booted_by == "UEFI"


def test_the_efi_stub_speaks_before_the_kernel_does():
    assert read_map("EFI stub: UEFI Secure Boot is enabled.\n" + BIOS_LOG).booted_by == "UEFI"


@pytest.mark.parametrize(
    "words",
    ["[trimmed]", "[ lines removed ]", "---- some lines elided ----", "* * *", "<deleted>", "..", "[truncated]"],
)
def test_lines_that_were_cut_out_leave_open_who_started_it(words):
    lines = BIOS_LOG.splitlines(keepends=True)
    assert read_map("".join([*lines[:-2], f"{words}\n", *lines[-2:]])).booted_by == ""


@pytest.mark.parametrize(
    "before",
    [
        "With the kernel command line: root=/dev/sda2 noefi it boots.  Without:\n",
        "Command line: root=/dev/sdb1 noefi\n",
        "[    0.000000] efi: EFI v2.50 by Another\n",
        "ACPI: RSDP 0x00000000DDF11000 000024 (v02 OTHER )\n",
        "EFI runtime services will be disabled\n",
    ],
)
def test_what_stands_before_a_boot_is_not_of_it(before):
    log = without("Command line", BIOS_LOG)
    found, alone = read(before + log), read(log)
    assert (found.map.booted_by, found.command_line, found.no_runtime) == ("BIOS", "", "")
    assert found.map.e820 == alone.map.e820


def test_prose_behind_a_log_is_not_its_command_line():
    log = without("Command line")
    assert read(log + "It boots with this Kernel command line: root=/dev/sda2 noefi\n").command_line == ""


def test_the_version_shown_again_begins_no_boot():
    first, rest = LOG.splitlines(keepends=True)[:8], LOG.splitlines(keepends=True)[8:]
    version = LOG.partition("\n")[0].removeprefix(STAMP)
    found = read("".join([*first, f"$ cat /proc/version\n{version}\n", *rest]))
    assert (found.map.booted_by, found.map.title) == ("UEFI", "Example Corp. Model 1/Board, BIOS 1.0 01/01/2018")


def test_a_lost_high_range_is_told_beside_both_last_pfns():
    cut = without("0x000000d07fffffff") + STAMP + "e820: last_pfn = 0x70000 max_arch_pfn = 0x400000000\n"
    assert any("last_pfn = 0xd080000 contradicts" in note for note in read_map(cut).notes)


def test_ram_that_is_not_cached_is_not_the_kernels():
    """Linux prints its end before and after: that is no contradiction."""
    changed = LOG.replace("BIOS-e820:", "modified:").replace("0xd07fffffff", "0xcfffffffff").replace("d07fff", "cfffff")
    found = read_map(LOG + "".join(line + "\n" for line in changed.splitlines() if "modified:" in line))
    assert found.highest_ram == 0xD000000000
    assert not any("contradicts" in note for note in found.notes)


def test_an_option_that_is_not_worked_out_is_named():
    found = read_map(LOG.replace("efi=debug", "memmap=64G%512G-1+2"))
    assert any(note.startswith("not worked out: memmap=64G%512G-1+2") for note in found.notes)


def test_a_crash_kernels_memory_is_not_the_machines():
    found = read_map(LOG.replace("efi=debug", "elfcorehdr=867700K"))
    assert found.booted_by == "kexec"
    assert any("the first kernel had the machine's memory" in note for note in found.notes)


def test_a_machines_name_is_not_taken_from_another_kernels_oops():
    oops = (
        "BUG: unable to handle kernel paging request at 0000000000001000\nOops: 0000 [#1] SMP\n"
        "CPU: 0 PID: 1 Comm: x Not tainted 4.4.0-21 #1\nHardware name: Other Inc. Box, BIOS 2 02/02/2016\n"
    )
    assert read_map(without("DMI") + oops).title == ""
    assert read_map(without("DMI") + oops.replace("4.4.0-21", "4.12.0-test")).title.startswith("Other Inc.")


def test_a_name_that_was_wrapped_is_whole():
    found = read_map(LOG.replace("BIOS 1.0 01", "BIOS 1.0\n01"))
    assert found.title == "Example Corp. Model 1/Board, BIOS 1.0 01/01/2018"


def test_only_what_is_the_firmwares_and_whole_can_contradict_it():
    part = STAMP + "efi: mem00: [Runtime Data|RUN|WB] range=[0x0000000070000000-0x00000000701fffff] (2MB)\n"
    whole = part + STAMP + "efi: mem01: [Conventional|   |WB] range=[0x0000000000100000-0x000000006fffffff] (1791MB)\n"
    iomem = "00001000-0009ffff : System RAM\n00100000-6fffffff : System RAM\n"
    for text, some in ((LOG + part, False), (LOG + whole, True), (whole + iomem, False)):
        assert bool(check(io.BytesIO(text.encode())).contradictions) is some


@pytest.mark.parametrize("front", [b"\xef\xbb\xbf", b"\n\n", b""])
def test_a_mail_may_lack_its_first_headers(front):
    body = base64.encodebytes(LOG.encode())
    head = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
    assert read_bytes(front + head + body).map.e820 == ENTRIES


def test_a_log_without_its_first_lines_says_where_they_may_be():
    with pytest.raises(MapError, match="journalctl -k -b"):
        read_map("[  812.500000] usb 1-1: new high-speed device\n" * 3)


@pytest.mark.parametrize(
    "command", ["$ dmesg | grep BIOS-e820", "# journalctl -k -g BIOS-e820", 'grep "BIOS-e820:" log']
)
def test_the_command_that_looked_for_a_list_is_no_entry_of_it(command):
    assert read_map(f"{command}\n{LOG}").e820 == ENTRIES


def test_what_proc_cmdline_shows_is_the_command_line():
    shown = "# cat /proc/cmdline\nBOOT_IMAGE=/vmlinuz-5.10 root=/dev/sda2 noefi\n"
    assert read(shown + "".join(LOG.splitlines(keepends=True)[3:8])).command_line.endswith("noefi")


def test_a_guest_whose_ram_has_no_hole_has_a_machine():
    whole = "Xen: [mem 0x0000000000000000-0x000000000009ffff] usable\n"
    whole += "Xen: [mem 0x0000000000100000-0x00000001ffffffff] usable\n"
    found = check(io.BytesIO(whole.encode()))
    assert (found.booted_by, found.reading.map.highest_ram) == ("Xen", 0x200000000)
    assert found.hit == []


@pytest.mark.parametrize(
    ("line", "arch"),
    [
        ("[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x413fd0c1]", "arm64"),
        ("[    1.0] Mem abort info:", "arm64"),
        ("NIP: c0000000002b3f50 LR: c0000000002b3f48", "POWER"),
    ],
)
def test_another_architecture_is_named_without_a_list_too(line, arch):
    with pytest.raises(MapError, match=f"is of {arch}"):
        read_map(f"{line}\nnothing else\n")


def test_without_a_word_of_what_started_it_the_answer_is_conditional():
    cut = without("efi:", without("DMI", without("last_pfn")))
    words = checked(check(io.BytesIO(cut.encode())), "log")
    assert "\nIf it was started by UEFI:\n" in words
    assert "If it was" not in checked(check(io.BytesIO(LOG.encode())), "log")


def test_a_contradiction_with_last_pfn_is_told():
    wrong = LOG.replace("0xd080000 max", "0xe080000 max")
    assert any("last_pfn = 0xe080000 contradicts" in note for note in read_map(wrong).notes)
    assert not any("last_pfn" in note for note in read_map(LOG).notes)
    low = LOG.replace("0xd080000 max", "0x70000 max")  # the second one, of RAM below 4 GiB, in a cut log
    assert not any("last_pfn" in note for note in read_map(low).notes)


# several boots, and damaged lists

OTHER = LOG.replace("0x000000d07fffffff", "0x000000407fffffff").replace("Model 1", "Model 2").replace("0xd08", "0x408")


def test_of_different_boots_one_is_chosen():
    with pytest.raises(
        MapError, match=r"<text>:16: a second boot .* --boot N: 1 in lines 4 to 8 .*, 2 in lines 16 to 20"
    ) as caught:
        read(LOG + OTHER)
    assert "\n" not in str(caught.value)
    assert read(LOG + OTHER, 1).map.title == "Example Corp. Model 1/Board, BIOS 1.0 01/01/2018"
    assert read(LOG + OTHER, 2).map.highest_ram == 0x4080000000
    for number in (0, 3, -1):
        with pytest.raises(MapError, match="expected one of 1 in lines"):
            read(LOG + OTHER, number)


def test_the_same_boot_printed_again_is_one():
    assert read_map(LOG + LOG).e820 == ENTRIES
    half = "".join(LOG.splitlines(keepends=True)[:6])
    for text in (half + LOG, LOG + half):
        assert read_map(text).e820 == ENTRIES
        assert read_map(text).booted_by == "UEFI"


def test_a_damaged_list_does_not_spoil_a_good_one():
    efi = "efi: mem00: type=7, attr=0xf, range=[0x0000000000100000-0x00000000700000"
    found = read_map(LOG + efi + "\n")
    assert (found.e820, found.descriptors) == (ENTRIES, ())
    assert any("line 13: damaged EFI entry" in note for note in found.notes)
    with pytest.raises(MapError, match=":5: damaged e820 entry"):
        read_map(LOG.replace("0x0000000000100000-0x000000006fffffff]", "0x00000000001"))


def test_two_lines_that_ran_together_are_two():
    together = LOG.replace(
        "usable\n[    0.000000] BIOS-e820: [mem 0x0000000070000000",
        "usable[    0.000000] BIOS-e820: [mem 0x0000000070000000",
    )
    assert together != LOG
    assert read_map(together).e820 == ENTRIES


# wrappings


def mail(body, encoding, *, attach=b"", kind="plain"):
    message = EmailMessage()
    message["From"], message["Subject"] = "someone@example.org", "my log"
    message.set_content(body, subtype=kind, cte=encoding)
    if attach:
        message.add_attachment(attach, maintype="application", subtype="octet-stream", filename="dmesg.gz")
    return bytes(message)


def wrapped(text, width):
    """As a mailer wraps: at the last blank before `width`, each piece with a quote mark."""
    lines = []
    for line in text.splitlines():
        while len(line) > width and " " in line[1:width]:
            at = line.rindex(" ", 1, width)
            lines.append("> " + line[:at])
            line = line[at + 1 :]  # noqa: PLW2901 - the rest is wrapped again
        lines.append("> " + line)
    return "\n".join(lines) + "\n"


def archived(kind):
    """The log, a picture and a note in an archive."""
    files = {"dmesg.txt": LOG.encode(), "shot.png": b"\x89PNG\r\n\x1a\n" + bytes(99), "note.txt": b"see dmesg.txt\n"}
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return packed.getvalue()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return packed.getvalue()


def as_json(*, pretty=False, as_bytes=False, key="MESSAGE", whole=False):
    """The log as journalctl, dmesg or a container's runtime write it."""
    lines = [line if whole else line[15:] for line in LOG.splitlines()]
    if pretty:
        return json.dumps({"dmesg": [{"pri": 6, "msg": line} for line in lines]}, indent=3).encode()
    values = [list(line.encode()) if as_bytes else line + "\n" * whole for line in lines]
    return "\n".join(json.dumps({"__CURSOR": "s=1", key: value, "PRIORITY": "6"}) for value in values).encode()


MBOX = b"From a@b Mon Jan  1 00:00:00 2018\n"
PACKED = {
    "gzip": gzip.compress(LOG.encode()),
    "two gzips in a row": gzip.compress(LOG[:300].encode()) + gzip.compress(LOG[300:].encode()),
    "xz": lzma.compress(LOG.encode()),
    "bzip2": bz2.compress(LOG.encode()),
    "gzip in gzip": gzip.compress(gzip.compress(LOG.encode())),
    "quoted-printable mail": mail(LOG, "quoted-printable"),
    "base64 mail": mail(LOG, "base64"),
    "attached": mail("see the attachment\n", "7bit", attach=gzip.compress(LOG.encode())),
    "attached and quoted": mail(LOG, "quoted-printable", attach=gzip.compress(LOG.encode())),
    "HTML mail": mail(f"<html><body><pre>{html.escape(LOG)}</pre></body></html>", "base64", kind="html"),
    "a tar archive": archived("tar"),
    "a zip archive": archived("zip"),
    "a character set that is none": mail(LOG, "base64").replace(b"utf-8", b"u\0-8"),
    "packed mail": gzip.compress(mail(LOG, "base64")),
    "mailbox": MBOX + mail("hello\n", "7bit") + b"\n" + MBOX + mail(LOG, "base64"),
    "raw quoted-printable": quopri.encodestring(LOG.encode()),
    "UTF-16": LOG.encode("utf-16"),
    "UTF-16-LE without a mark": LOG.encode("utf-16-le"),
    "UTF-16-BE without a mark": LOG.encode("utf-16-be"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + LOG.encode(),
    "CRLF": LOG.replace("\n", "\r\n").encode(),
    "no-break spaces": LOG.replace(" ", "\xa0").encode(),
    "no-break spaces of Latin-1": LOG.replace(" ", "\xa0").encode("latin-1"),
    "a web page": f"<!DOCTYPE html><html><body>{html.escape(LOG).replace(chr(10), '<br>')}</body></html>".encode(),
    "entities": LOG.replace("[", "&#91;").replace("]", "&#93;").encode(),
    "wrapped at 72": wrapped(LOG, 72).encode(),
    "wrapped at 60": wrapped(LOG, 60).encode(),
    "wrapped at 44": wrapped(LOG, 44).encode(),
    "dmesg --json": as_json(pretty=True),
    "journalctl -o json": as_json(),
    "journalctl -o json, bytes": as_json(as_bytes=True),
    "docker": as_json(key="log", whole=True),
    "cut JSON": as_json(pretty=True)[:-60],
    "CSV": "\n".join(f'6,"{line[15:]}","host"' for line in LOG.splitlines()).encode(),
    "/dev/kmsg": "\n".join(f"6,{n},0,-;{line[15:]}" for n, line in enumerate(LOG.splitlines())).encode(),
    "CRI": "\n".join(f"2018-01-01T00:00:00.000000000Z stdout F {line}" for line in LOG.splitlines()).encode(),
    "a table of Markdown": "\n".join(f"| `{line[15:]}` |" for line in LOG.splitlines()).encode(),
}  # fmt: skip


@pytest.mark.parametrize("data", PACKED.values(), ids=PACKED)
def test_a_log_is_read_in_whatever_it_comes(data):
    found = read_bytes(data).map
    assert (found.e820, found.booted_by) == (ENTRIES, "UEFI")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04" + bytes(200), "damaged archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(200), "zstdcat"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "a picture"),
        (bytes(257) + b"ustar" + bytes(250), "damaged archive"),
        (gzip.compress(LOG.encode())[:-20], "damaged packed file"),
        (b"\x1f\x8b" + bytes(50), "damaged packed file"),
        (lzma.compress(LOG.encode())[:-20], "damaged packed file"),
        (b"BZh91AY&SY" + bytes(50), "damaged packed file"),
        (b"FreeBSD 13.1-RELEASE amd64\nreal memory = 8589934592\n", "machdep.smap"),
        (b"OpenBSD 7.4 (GENERIC.MP) #1397\nreal mem = 8486060032\n", "machine memory"),
        (b"NetBSD 9.3 (GENERIC) #0\ntotal memory = 8191 MB\n", "NetBSD"),
        (b"[  812.500000] x86: usb 1-1: new device found\n", "journalctl -k -b"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_would_help(data, words):
    with pytest.raises(MapError) as caught:
        read_bytes(data)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_what_unpacks_to_too_much_is_refused_in_little_memory():
    """A thousandth of its size when packed; 10 GB would take the same path, and no longer."""
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        bomb = pack(bytes(LARGEST_ENCODED + 10))
        tracemalloc.start(1)
        try:
            with pytest.raises(MapError, match=f"more than {LARGEST_ENCODED >> 20} MiB"):
                read_bytes(bomb)
            assert tracemalloc.get_traced_memory()[1] < 6 * LARGEST_ENCODED
        finally:
            tracemalloc.stop()


def test_a_mail_of_too_much_is_refused_by_name():
    with pytest.raises(MapError, match="packed or encoded"):
        read_bytes(b"To: b@example.org\nSubject: x\n\n" + bytes(LARGEST_ENCODED))


def test_the_log_is_in_the_page_where_a_mailer_left_the_plain_text_empty():
    part = "--b\nContent-Type: text/{}\n\n{}\n"
    page = "<pre>" + LOG.replace("\n", "<br>\n") + "</pre>"
    for plain in ("", " \n"):
        parts = part.format("plain", plain) + part.format("html", page) + "--b--\n"
        mail = f"From: a@example.org\nSubject: x\nContent-Type: multipart/alternative; boundary=b\n\n{parts}"
        assert read_bytes(mail.encode()).map.e820 == ENTRIES


# formats by their heading


def test_digits_elsewhere_in_a_log_are_no_memmap():
    noise = "pcieport 0000:00:03.0:   TLP Header: 60000008 000000ff 00000001 00000000\n"
    noise += "00000010 000000ff 00000001 0000000000\n"
    assert read_map(LOG + noise).notes == read_map(LOG).notes
    assert read_map(LOG + noise).descriptors == ()


def test_a_gap_is_no_entry():
    gap = LOG.replace(
        "BIOS-e820: [mem 0x0000000100000000",
        "BIOS-e820: [gap 0x80000000-0xffffffff]\nBIOS-e820: [mem 0x0000000100000000",
    )
    assert read_map(gap).e820 == ENTRIES


# without names


def test_a_redacted_log_has_no_names_and_the_same_map():
    secrets = ("alice", "bigiron", "52:54:00:12:34:56", "4c4c4544-0042-3010-8054-c7c04f333532", "S3Z8NB0K", "10.1.2.3")
    log = LOG.replace("builder@example", "alice@bigiron.example.org") + (
        "Nov 23 02:34:01 bigiron kernel: eth0: 52:54:00:12:34:56 at 10.1.2.3\n"
        "bigiron again, user alice in /home/alice\nsda: Serial Number: S3Z8NB0K\n"
        "root=UUID=4c4c4544-0042-3010-8054-c7c04f333532\n"
    )
    shown = redacted_text(log)

    assert [word for word in secrets if word in shown] == []
    assert shown.count("host-1") == 2
    assert read_map(shown) == read_map(LOG)


@pytest.mark.parametrize(
    ("line", "secrets"),
    [
        ("systemd[1]: Hostname set to <bigiron>.", ["bigiron"]),
        ("systemd-logind[1]: New session 1 of user alice.\nit was alice", ["alice"]),
        ("[alice@bigiron ~]$ dmesg\nbigiron, alice", ["alice", "bigiron"]),
        ("root@bigiron:~# uname -a\nLinux bigiron 5.10.0-8-amd64 #1 SMP Debian x86_64", ["bigiron"]),
        ('audit: acct="alice"\nAccepted publickey for alice from 10.1.2.3', ["alice", "10.1.2.3"]),
        ("board_serial: S3Z8NB0K\nID_SERIAL_SHORT=S3Z8NB0L\nService Tag: 7ABC123", ["S3Z8NB0", "7ABC123"]),
        ("nvme nvme0: NQN nqn.2014.08.org.nvmexpress:144d144dS3EVNX0J123456", ["S3EVNX0J123456"]),
        ("BOOTIF=01-52-54-00-12-34-56 root=PARTUUID=1234abcd-02", ["34-56", "1234abcd"]),
        ("File(x) MAC(8cec4baabbcc,0) EUI-64 00-25-38-5A-91-B0-12-34", ["8cec4baabbcc", "12-34"]),
        ("iscsi: iqn.1994-05.com.redhat:hana01", ["hana01"]),
        ("Serial Number: ZC1A2B3C\nata-ST4000NM0035-1V4107_ZC1A2B3C", ["ZC1A2B3C"]),
        ("sshd: Failed password for invalid user bob from 10.1.2.3\nInvalid user bob", ["bob"]),
        ("eth0: fe80::5054:ff:fe12:3456 and 2001:db8::1234", ["fe12:3456", "db8::1234"]),
    ],
)
def test_names_and_numbers_are_redacted_wherever_they_stand(line, secrets):
    shown = redacted_text(f"{LOG}{line}\n")
    assert [word for word in secrets if word in shown] == []
    assert read_map(shown) == read_map(LOG)


@pytest.mark.parametrize(
    "line",
    [
        "No user data was lost",
        "kernel/user space: user memory",
        "ls /home/user",
        "Serial: 8250/16550 driver, 4 ports",
        "Hostname set to <server>.",
    ],
)
def test_words_that_are_no_names_leave_the_map_as_it_is(line):
    user = "[    0.000000] user: [mem 0x0000000000000000-0x000000000009ffff] usable\n"
    log = f"{line}\n{LOG}{user}"
    assert read_map(redacted_text(log)) == read_map(log)


def test_options_that_decide_the_map_are_no_addresses_of_mail():
    for options in ("memmap=exactmap memmap=640K@0 memmap=1023M@1M memmap=3G@4G", "mem=4G crashkernel=512M@64M"):
        log = LOG.replace("efi=debug", options)
        assert read_map(redacted_text(log)) == read_map(log)
    assert "\t" in redacted_text("a\tb\n")


# what else a log says, and does not say

DMI = "[    0.000000] DMI:"
RSDP = "[    0.010000] ACPI: RSDP 0x000000007C1FE014 000024 (v02 EXMPL )\n"
SILENT = without("efi: ")


@pytest.mark.parametrize("cut", ["[...]", "<snip>", "  ...", "--8<--", "[ skipped ]"])
def test_where_lines_are_left_out_nothing_proves_a_bios(cut):
    assert read_map(SILENT.replace(DMI, f"{cut}\n{DMI}")).booted_by == ""
    assert read_map(SILENT.replace(DMI, f"{cut}\n{DMI}") + RSDP).booted_by == ""
    assert read_map(SILENT + RSDP).booted_by == "kexec"


def test_a_visible_grep_proves_no_bios():
    assert read_map("$ dmesg | grep -E 'Linux version|e820|DMI'\n" + SILENT).booted_by == ""


def test_a_pvh_guest_of_xen_makes_no_efi_call():
    said = "[    0.010000] Booting paravirtualized kernel on Xen PVH\n"
    assert read_map(SILENT + said + RSDP).booted_by == "Xen"


def test_a_vendor_that_a_mailer_has_wrapped_away_is_uefi_all_the_same():
    assert (
        read_map(without("efi:").replace(DMI, f"[    0.000000] efi: EFI v2.31 by\nExample\n{DMI}")).booted_by == "UEFI"
    )


@pytest.mark.parametrize("said", ["UEFI", "BIOS"])
def test_freebsd_says_what_started_it(said):
    smap = "SMAP type=01 base=0000000000000000 len=000000000009fc00\n"
    assert read_map(f"machdep.bootmethod: {said}\n{smap}").booted_by == said


@pytest.mark.parametrize(
    "said", ["EFI runtime services will be disabled.", "No EFI runtime due to 32/64-bit mismatch with kernel"]
)
def test_a_kernel_that_says_that_it_makes_no_call_is_believed(said, tmp_path):
    log = tmp_path / "log"
    log.write_text(LOG.replace(DMI, f"[    0.000000] efi: {said}\n{DMI}"))
    found = check(log)
    assert found.hit == []
    assert said.rstrip(".") in " ".join(checked(found, "log").split())


def test_the_same_list_of_another_machine_or_with_other_options_is_another_boot():
    machine = LOG.replace("Model 1", "Model 2").replace("[mem 0x0000000070200000", "[mem 0x0000000070300000", 1)
    for other in (LOG.replace("Model 1", "Model 2"), LOG.replace("efi=debug", "efi=debug noefi")):
        with pytest.raises(MapError, match="a second boot"):
            read(LOG + other)
        assert read_bytes((LOG + other).encode(), 2).map.e820 == ENTRIES
    assert read_bytes((machine + LOG).encode(), 2).map.title.startswith("Example Corp. Model 1")
    assert read_map(LOG + LOG.replace("4.12.0", "4.13.0")).e820 == ENTRIES
    assert read_map(LOG + LOG.replace(" BIOS 1.0", "\nBIOS 1.0")).e820 == ENTRIES
    quoted = LOG.replace("\n", '\\n",\n')
    assert read_map(LOG + quoted).title == read_map(quoted).title == "Example Corp. Model 1/Board, BIOS 1.0 01/01/2018"


FAULT = "[   99.000000] [Firmware Bug]: Page fault caused by firmware at PA: 0x6543f7f0\n"


def test_a_fault_is_judged_by_the_map_of_its_own_boot():
    other = LOG.replace("Model 1", "Model 2")
    (one,) = read_bytes((LOG + FAULT + other).encode(), 1).oopses
    assert one.of_the_map
    assert read_bytes((LOG + FAULT + other).encode(), 2).oopses == ()
    (one,) = read(LOG + FAULT.replace("Page fault", "Page fault\n>")).oopses
    assert (one.of_the_map, one.address) == (True, 0x6543F7F0)
    oops = "BUG: unable to handle kernel paging request at 000000006543f7f0\nHardware name: Example Laptop 9\n"
    found = read(oops + LOG)
    assert found.map.title.startswith("Example Corp. Model 1")
    assert [one.of_the_map for one in found.oopses] == [False]
    same = read(oops.replace("Example Laptop 9", "Example Corp. Model 1/Board, BIOS 1.0 01/01/2018") + LOG)
    assert [one.of_the_map for one in same.oopses] == [True]


ARM = "[    0.000000] Booting Linux on physical CPU 0x0000080000 [0x481fd010]\n"


def test_the_machines_own_word_counts_more_than_prose():
    for text in (f"On x86_64 it works. On ours not:\n{IOMEM}{ARM}", f"fe820000-fe82ffff : ARMH0011:00\n{IOMEM}{ARM}"):
        with pytest.raises(MapError, match="is of arm64"):
            read(text)
    with pytest.raises(MapError, match="is of RISC-V"):
        read(f"our RISC-V board, /proc/iomem:\n{IOMEM}")


@pytest.mark.parametrize("prose", ["Cc: linux-riscv@lists.example.org", "As on s390, but this is an Intel Xeon:"])
def test_an_address_and_a_comparison_name_no_architecture(prose):
    assert read_map(f"{prose}\n{IOMEM}").e820
    assert "which architecture" in " ".join(read_map(f"fe820000-fe82ffff : a device\n{IOMEM}").notes)


def test_a_sentence_with_a_version_begins_no_boot():
    log = LOG.replace(
        "[    0.000000] efi: EFI v", "(I run Linux version 5.10 here, by the way.)\n[    0.000000] efi: EFI v"
    )
    assert (read_map(log).booted_by, read_map(log).kernel) == ("UEFI", "4.12.0-test")


@pytest.mark.parametrize("code_pages", [0, 7, 8])
def test_an_efi_list_without_room_for_a_firmware_is_answered_all_the_same(code_pages, tmp_path):
    """Seven pages of code are too few for the drivers of the model's firmware, a page each and two; eight do."""
    runtime, data = 1 << 63 | 0xF, 0x70100000
    regions = [(7, 0xF, 0, 0xA0000), (7, 0xF, 0x100000, 0x70000000), (6, runtime, data, data + 0x8000)]
    regions += [(5, runtime, data + 0x8000, data + 0x8000 + code_pages * 0x1000)] if code_pages else []
    lines = [
        f"efi: mem{number:02}: type={kind}, attr={attribute:#x}, range=[{start:#018x}-{end:#018x}) (0MB)\n"
        for number, (kind, attribute, start, end) in enumerate([*regions, (7, 0xF, 4 * GIB, 0xD080000000)])
    ]
    log = tmp_path / "log"
    log.write_text(LOG + "".join(lines))
    found = check(log)
    assert found.hit == HIT
    assert found.machine.map.ram == read_map(LOG).ram
    noted = [note.rpartition(" ")[2] for note in found.machine.map.notes if "no room for a firmware" in note]
    assert noted == ([] if code_pages == 8 else ["0x70000000"])  # all of the reserved range, which has 2 MiB
    last = max(md.end for md in found.machine.map.descriptors if md.type in (5, 6))
    assert last == (data + 0x10000 if code_pages == 8 else 0x70200000)
