"""Page faults of public oopses, their numbers in our own small inputs, in each form in which Linux has printed them.

The addresses, error codes and entries are those that other patterns found in public mails (public-logs.json has where
they come from); the words around them here are the kernel's, and the rest is invented.
"""

import json
from pathlib import Path
from textwrap import wrap

import pytest

import efimm
from efimm.check import check
from efimm.diagnosis import diagnose
from efimm.maps.boots import NoMapError
from efimm.maps.formats import MapError, read

PUBLIC = json.loads((Path(__file__).parent / "public-logs.json").read_text(encoding="utf-8"))["oopses"]
CASES = Path(__file__).parents[2] / "shared" / "cases" / "logs"
DATA = Path(__file__).parents[2] / "shared" / "data"


def old(address, code, entries):
    """As 2.6.32 to 4.10 print it: four levels."""
    names = ("PGD", "PUD", "PMD", "PTE")
    kept = entries if len(entries) < 2 else [entries[0], *entries[2:]]  # without P4D, which repeats PGD
    walk = " ".join(f"{name} {entry:x}" for name, entry in zip(names, kept, strict=False))
    return (
        f"BUG: unable to handle kernel paging request at {address:016x}\nIP: [<000000007bd41a10>] 0x7bd41a0f\n"
        f"{walk} \nOops: {code:04x} [#1] SMP \nCPU 0 \n"
        f"RAX: 0000000000000030 RDI: {address - 0x20 & (1 << 64) - 1:016x}\n"
        f"CR2: {address:016x} CR3: 0000000001a0b000 CR4: 00000000000006b0\nCall Trace:\n"
        " [<ffffffff81043c18>] ? efi_call4+0x48/0x80\n---[ end trace 0 ]---\n"
    )


def new(address, code, entries):
    """As 5.1 and later print it."""
    walk = " ".join(
        f"{name} {entry:x}" for name, entry in zip(("PGD", "P4D", "PUD", "PMD", "PTE"), entries, strict=False)
    )
    return (
        f"[    1.0][    T0] BUG: unable to handle page fault for address: {address:016x}\n"
        f"[    1.0][    T0] #PF: supervisor read access in kernel mode\n"
        f"[    1.0][    T0] #PF: error_code(0x{code:04x}) - not-present page\n[    1.0][    T0] {walk} \n"
        f"[    1.0][    T0] Oops: Oops: {code:04x} [#1] PREEMPT SMP NOPTI\n"
        "[    1.0][    T0] CPU: 1 UID: 0 PID: 68 Comm: kworker/u16:0 Not tainted 6.12.0-test #1\n"
        "[    1.0][    T0] Hardware name: Example Corp. Model 9/Board, BIOS 1.0 01/01/2024\n"
        "[    1.0][    T0] RIP: 0010:efivar_entry_list+0x12/0x34\n[    1.0][    T0] CR2: " + f"{address:016x}\n"
    )


def faults(text):
    with pytest.raises(NoMapError) as caught:
        read(text)
    return caught.value.oopses


def test_there_are_enough_of_them():
    assert len({row["address"] for row in PUBLIC if row["efi"]}) >= 20


@pytest.mark.parametrize("form", [old, new])
@pytest.mark.parametrize(
    "row", [row for row in PUBLIC if row["error_code"] is not None], ids=lambda row: f"{row['address']:#x}"
)
def test_a_public_fault_is_read_number_by_number(row, form):
    if row["address"] < 0x20 and form is old:
        row = row | {"address": 0x1000}
    (one,) = faults(form(row["address"], row["error_code"], row["entries"]))
    found = diagnose(one).summary()

    assert (found["address"], found["error_code"]) == (row["address"], row["error_code"])
    entries = [each["entry"] for each in found["entries"]]
    assert entries == (
        row["entries"] if form is new or len(row["entries"]) < 2 else [row["entries"][0], *row["entries"][2:]]
    )
    code = row["error_code"]
    assert found["access"] == ("fetch" if code & 16 else "write" if code & 2 else "read")
    assert found["slot"] == row["address"] >> 39 & 511
    lines = range(1, len(form(row["address"], code, row["entries"]).splitlines()) + 1)
    assert all(each["lines"] and set(each["lines"]) <= set(lines) for each in found["findings"])


@pytest.mark.parametrize("width", [76, 72, 64, 52])
@pytest.mark.parametrize("form", [old, new])
def test_numbers_that_a_mailer_has_wrapped_are_read_all_the_same(form, width):
    """Its address or an entry of its walk may stand alone on the next line, in which no word says what it is."""
    for row in (each for each in PUBLIC if each["error_code"] is not None):
        whole = form(max(row["address"], 0x1000), row["error_code"], row["entries"])
        wrapped = "\n".join(piece for line in whole.splitlines() for piece in wrap(line, width, break_on_hyphens=False))
        (one,), (told,) = faults(wrapped), faults(whole)
        assert (one.address, one.error_code, one.entries) == (told.address, told.error_code, told.entries)
        assert (one.registers, one.kernel) == (told.registers, told.kernel)


def test_what_stands_below_a_fault_that_lacks_its_address_is_none():
    text = "Reverting it boots after a kernel NULL pointer dereference:\n  53b87cf088e2 x86, mm: Include the map\n"
    assert faults(text)[0].address is None


@pytest.mark.parametrize("broken", ["at\n\n> ffffc7ff1f7cba00", "at\n> > ffffc7ff1f7cba00  "])
def test_a_blank_line_and_quote_marks_do_not_hide_it(broken):
    text = f"> BUG: unable to handle kernel paging request {broken}\n> PGD\n> 13a067 PUD 0 \n"
    (one,) = faults(text)
    assert (one.address, one.entries) == (0xFFFFC7FF1F7CBA00, [("pgd", 0x13A067), ("pud", 0)])


def test_the_bug_of_2012_is_told_by_call_chain_and_fingerprint():
    log = old(0xC63F438020, 0, [0])
    (one,) = faults(log)
    found = diagnose(one)
    assert found.cause == "bug of 2012"
    assert any("no trace says so" in each.says for each in found.findings)  # efi_call4 alone may be any call
    switch = log.replace("---[", " [<ffffffff81b0b7c1>] efi_enter_virtual_mode+0x2ea/0x3e2\n---[")
    found = diagnose(faults(switch)[0])
    assert any(each.says.startswith("this is the bug of 2012") for each in found.findings)
    assert any("RDI + 0x20" in each.says for each in found.findings)
    for other in (
        log.replace("PGD 0", "PGD 1a0c067 PUD 0"),
        log.replace("Oops: 0000", "Oops: 0002"),
        old(0x3F438020, 0, [0]),
    ):
        assert diagnose(faults(other)[0]).cause == "none of these"


def test_the_command_shows_the_same_fault_in_the_model():
    words = diagnose(faults(old(0xC63F438020, 0, [0]))[0]).command.split()
    ram, place = words[words.index("--ram") + 1], words[words.index("--buffer") + 1]
    fault = efimm.run(efimm.machine(ram, buffer=place), "3.5").fault
    assert fault is not None
    assert (fault.cr2, fault.level, fault.index) == (0xC63F438020, "pgd", 1)


CHAIN = "Call Trace:\n efi_call_virt+0x48/0x80\n virt_efi_get_time+0x40/0x60\n"
MAP = """\
Linux version 5.10.0-test (a@b) #1 SMP
Command line: root=/dev/sda2 OPTIONS
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
BIOS-e820: [mem 0x0000000000100000-0x0000000066ffffff] usable
BIOS-e820: [mem 0x0000000067000000-0x000000006fffffff] reserved
efi: EFI v2.50 by Example
"""
FIRMWARE = "[Firmware Bug]: Page fault caused by firmware at PA: 0x{:x}\n"
KINDS = {
    "KPTI with old_map": ("", new(0x5B835F90, 0x11, [0x8000000001F61067, 0x8000000001F61067, 0x190FFEFFF067]) + CHAIN),
    "NX on runtime code": (
        "",
        new(0x5BC02900, 0x11, [0x18F7063, 0x18F7063, 0x18FF063, 0x190E063, 0x800000005BC02063]) + CHAIN,
    ),
    "KASLR with old_map": ("efi=old_map", new(0x6BD41A10, 0, [0]) + CHAIN),
    "no identity map after kexec": ("elfcorehdr=867700K", new(0x6BD41A10, 0, [0x1A0C067, 0x1A0C067, 0]) + CHAIN),
    "boot-services memory touched late": ("", FIRMWARE.format(0x6543F7F0)),
    "none of these": ("", FIRMWARE.format(0xFFFFA79840068000)),
}


@pytest.mark.parametrize("cause", KINDS)
def test_each_cause_is_told_from_the_others(cause):
    options, log = KINDS[cause]
    log = log.replace("RIP: 0010:efivar_entry_list+0x12/0x34", "RIP: 0010:0x6bd41a10").replace(
        "6.12.0-test", "5.4.0-test"
    )
    found = read(MAP.replace("OPTIONS", options) + log)
    (one,) = found.oopses
    assert diagnose(one, found.map, found.command_line).cause == cause


def test_a_fault_outside_efi_is_none_of_them():
    (one,) = faults(
        new(0xFFFFA8DE001640E0, 2, [0x100000067, 0x100000067, 0x1001DF067, 0]).replace("efivar_entry_list", "memcpy")
    )
    found = diagnose(one)
    assert found.cause == "none of these"
    assert any("nothing in it names EFI" in each.says for each in found.findings)


def test_the_region_is_that_of_the_logs_own_map():
    found = read(MAP + FIRMWARE.format(0x67001000))
    says = " ".join(each.says for each in diagnose(found.oopses[0], found.map).findings)
    assert "reserved (0x67000000 to 0x70000000)" in says


def test_an_oops_of_arm64_is_none_of_x86():
    with pytest.raises(MapError):
        read("Unable to handle kernel paging request at virtual address ffff8000dd1393ff\nMem abort info:\n")


REAL = {
    "oops-huawei-fusionserver-9032-efi-call4-old-map-nx-linux-3.10.txt": ("KPTI with old_map", "pte", 0x5B835F90),
    "oops-ibm-x3850-x5-efi-call4-kmemcheck-linux-3.11.txt": ("none of these", "pte", 0x103F8AE420),
    "oops-qemu-mixed-mode-efi-set-virtual-address-map-linux-5.19.txt": ("NX on runtime code", "pte", 0x5BC02900),
    "oops-hp-xl450-kasan-efi-set-virtual-address-map-linux-5.5.txt": ("none of these", None, 0x788FEE50),
    "oops-qemu-kasan-efi-set-virtual-address-map-linux-5.5.txt": ("none of these", None, 0x3FBEEF38),
    "oops-only.txt": ("bug of 2012", "pgd", 0xC63F438020),
    "map-and-firmware-fault.txt": ("boot-services memory touched late", None, 0x6543F7F0),
}


@pytest.mark.parametrize("name", REAL if DATA.is_dir() else ["all"])
def test_a_real_fault_is_answered(name):
    if not DATA.is_dir():
        pytest.skip("the oopses of real machines (../shared) are not here")
    path = next(folder / name for folder in (DATA, CASES) if (folder / name).is_file())
    (found,) = check(path).faults
    assert (found.cause, found.level, found.oops.address) == REAL[name]
