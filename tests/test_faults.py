"""Page faults of public oopses, their numbers in our own small inputs, in each form in which Linux has printed them.

The addresses, error codes and entries are those that other patterns found in public mails (public-logs.json has where
they come from); the words around them here are the kernel's, and the rest is invented.
"""

import io
import json
from pathlib import Path
from textwrap import wrap

import pytest
from click.testing import CliRunner

import efimm
from efimm.check import check, checked
from efimm.cli import cli
from efimm.diagnosis import diagnose
from efimm.maps.boots import NoMapError
from efimm.maps.formats import MapError, read
from efimm.scene import Scene

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
    """Words alone are prose; a number on the next line would have been one."""
    text = "Reverting it boots after a kernel NULL pointer dereference:\n  53b87cf088e2 x86, mm: Include the map\n"
    assert faults(text) == ()


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
    "KPTI with old_map": (
        "",
        new(0x6B835F90, 0x11, [0x8000000001F61067, 0x8000000001F61067, 0x190FFEFFF067]).replace("NOPTI", "PTI") + CHAIN,
    ),
    "NX on runtime code": (
        "",
        new(0x6BC02900, 0x11, [0x18F7063, 0x18F7063, 0x18FF063, 0x190E063, 0x800000006BC02063]) + CHAIN,
    ),
    "KASLR with old_map": ("efi=old_map", new(0x6BD41A10, 0, [0]).replace("6.12.0-test", "4.10.0-test") + CHAIN),
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


JUMP = "BUG: unable to handle kernel paging request at {0:016x}\nIP: [<{0:016x}>] {0:#x}\nPGD 1a2b3067 PUD 0 \n"
JUMP += "Oops: 0010 [#1] SMP \nRIP: 0010:[<{0:016x}>]  [<{0:016x}>] {0:#x}\nCall Trace:\n {1}+0x1/0x4\n"
USER = "BUG: unable to handle page fault for address: {0:016x}\n#PF: error_code(0x0014) - not-present page\n"
USER += "PGD 10a067067 P4D 10a067067 PUD 0 \nOops: Oops: 0014 [#1] SMP\nRIP: 0033:{0:#x}\n"
I386 = """\
BUG: unable to handle kernel paging request at virtual address 5b5b5b5b
 printing eip:
c0467ad0
*pde = 00000000
Oops: 0000 [#1]
EIP:    0060:[<c0467ad0>]    Not tainted VLI
EIP is at example_dir+0x10/0x80
eax: 00000000   ebx: f7c5c400   ecx: 00000000   edx: 00000001
Call Trace:
 [<c04e2345>] example_add+0x74/0x100
"""
BY = {
    "a jump into the void": (JUMP.format(0x5C6B6B6B, "example_exit"), "none of these", ""),
    "a user's address": (JUMP.format(0x7F0023456789, "system_call_fastpath"), "none of these", ""),
    "user code": (USER.format(0x402000), "none of these", "is user code's"),
    "a 32-bit kernel": (I386, "none of these", "the kernel's, in example_dir"),
    "a 32-bit kernel without symbols": (I386.replace("EIP is", "so at"), "none of these", ""),
    "in an EFI call": (JUMP.format(0x5C6B6B6B, "efi_call4"), "boot-services memory touched late", "firmware is mapped"),
    "32-bit firmware": (
        JUMP.format(0x5C6B6B6B, "x").replace("RIP: 0010", "RIP: 0008"),
        "boot-services memory touched late",
        "firmware is mapped",
    ),
}


@pytest.mark.parametrize("who", BY)
def test_only_firmware_is_told_to_have_touched_memory_late(who):
    log, cause, words = BY[who]
    found = read(MAP + log)
    answer = diagnose(found.oopses[0], found.map)
    says = " ".join(each.says for each in answer.findings)
    assert (answer.cause, "firmware is mapped" in says) == (cause, words == "firmware is mapped")
    assert words in says


def test_the_user_of_a_system_call_is_not_who_faulted():
    log = JUMP.format(0x5C6B6B6B, "efi_call4").replace("RIP: 0010", "rip: 0010")
    (one,) = faults(log + "RIP: 0033:0x7f0011223344\n")
    assert not one.by_user


def test_a_fetch_that_smep_forbids_is_no_old_map():
    """With isolation, NX in the user half's top-level entries is what every process has."""
    log = new(0x401B6D, 0x11, [0x80000001F5B53067, 0x80000001F5B53067, 0x1F5B97067, 0x1F5B98067, 0x1F5B99025])
    (one,) = faults(log.replace("efivar_entry_list+0x12/0x34", "0x401b6d"))
    assert diagnose(one).cause == "none of these"


@pytest.mark.parametrize(
    ("array", "ram"),
    [(0x3EFF_0000_0000, "64T"), (0x4000_0000_0000, ""), (0x4200_0000_0000, ""), (0x7FF0_1000_0000, "")],
)
def test_a_command_is_told_only_where_a_machine_can_have_the_array(array, ram):
    found = diagnose(faults(old(array + 0x20, 0, [0]))[0])
    assert found.cause == "bug of 2012"
    assert f"--ram {ram} " in found.command if ram else found.command == ""


OTHERS = {
    "POWER": "Unable to handle kernel paging request for data at address 0x00000020\nNIP: c0000000002b3f50\n",
    "POWER of today": "BUG: Kernel NULL pointer dereference at 0x00000020\nFaulting instruction address: 0xc0000000\n",
    "ia64": "Unable to handle kernel NULL pointer dereference (address 0000000000000020)\npsr : 00001010085a6010\n",
    "SPARC": "Unable to handle kernel NULL pointer dereference\ntsk->{mm,active_mm}->context = 0000000000000b1b\n",
    "arm64": "> Unable to handle kernel paging request at virtual\n> address ffff800023456789\n> Mem abort info:\n",
    "ARM": "Unable to handle kernel paging request at virtual address 00000024\nInternal error: Oops: 5\n",
    "MIPS": "CPU 0 Unable to handle kernel paging request at virtual address 00000024, epc == 80100000\n",
    "its kernel": "BUG: unable to handle page fault for address: 0000000000000024\nNot tainted 4.9.0-sparc64-smp #1\n",
}


@pytest.mark.parametrize("other", OTHERS)
def test_an_oops_of_another_architecture_is_none_of_x86(other):
    with pytest.raises(MapError) as caught:
        read("hello\n" + OTHERS[other])
    assert getattr(caught.value, "oopses", ()) == ()
    (one,) = faults(old(0xC63F438020, 0, [0]).replace("---[ end trace 0 ]---\n", "") + OTHERS[other])
    assert (one.address, one.entries, one.kernel) == (0xC63F438020, [("pgd", 0)], "")


WARNED = """\
[Firmware Bug]: Page fault caused by firmware at PA: 0x6543f7f0
WARNING: CPU: 1 PID: 68 at quirks.c:735 efi_crash_gracefully_on_page_fault+0x49/0xd0
RIP: 0010:efi_crash_gracefully_on_page_fault+0x49/0xd0
RAX: 0000000000000000 RBX: ffffb0c1c0267c08 RCX: 0000000000000000
CR2: 000000006543f7f0 CR3: 0000000100812000 CR4: 00000000003506e0
Call Trace:
 exc_page_fault+0x17b/0x1b0
RIP: 0010:0xfffffffeef4d42a2
Code: Bad RIP value.
RAX: 0000000000000031 RBX: 000000006543f7d0 RCX: 0000000000000000
 ? efi_call_rts+0x2b8/0x770
"""


def test_the_instruction_is_the_firmwares_and_not_the_one_that_warns_of_it():
    (one,) = faults(WARNED)
    assert (one.ip, one.symbol, one.registers["RBX"]) == (0xFFFFFFFEEF4D42A2, "", 0x6543F7D0)
    assert one.trace == ["exc_page_fault", "efi_call_rts"]


def test_a_32_bit_kernels_own_address_is_not_the_firmwares():
    """Without a symbol, and during an EFI call: the kernel begins at 3 GiB, firmware is called below."""
    for ip, said in (("c0456ad0", False), ("bfe56ad0", True)):
        (one,) = faults(
            "BUG: unable to handle kernel paging request at 7bd41a10\n"
            f"EIP: [<{ip}>]\n*pde = 00000000\nOops: 0000 [#1]\nCall Trace:\n [<c10430c8>] efi_call_phys+0x48/0x80\n"
        )
        assert (one.wide, one.ip) == (False, int(ip, 16))
        assert any("where firmware is mapped" in each.says for each in diagnose(one).findings) is said


def test_an_oops_of_i386_keeps_its_symbol_and_its_walk_is_that_of_its_mode():
    for log in (I386, I386.replace("BUG: unable", "Unable"), I386.replace("virtual address ", "")):
        (one,) = faults(log)
        assert (one.address, one.ip, one.symbol) == (0x5B5B5B5B, 0xC0467AD0, "example_dir")
        assert (one.error_code, one.registers["EBX"]) == (0, 0xF7C5C400)
        found = diagnose(one)
        assert (one.wide, found.slot, found.level, found.index) == (False, 365, "pde", 365)
    cut = "BUG: unable to handle page fault for address: f8a02000\n*pdpt = 0000000000a1c001 *pde = 0000000036c0f067 \n"
    assert not faults(cut)[0].wide


def test_an_oops_of_2_6_18_is_read():
    (one,) = faults(
        "Unable to handle kernel paging request at 000000c63f438020 RIP: \n [<000000007bd41a10>]\nPGD 0 \n"
        "Oops: 0000 [1] SMP \nRIP: 0010:[<000000007bd41a10>]  [<000000007bd41a10>]\nRDI: 000000c63f438000\n"
        "Call Trace:\n [<ffffffff8065c0a4>] efi_enter_virtual_mode+0x55/0x69\n"
    )
    assert (one.error_code, one.flags, diagnose(one).cause) == (0, "SMP", "bug of 2012")


@pytest.mark.parametrize("between", ["           ", "\n> "])
def test_null_in_words_is_address_0(between):
    (one,) = faults(
        f"> BUG: unable to handle kernel NULL pointer dereference at{between}(null)\n> IP:           (null)\n"
        "> PGD 0 \n> Oops: 0010 [#1] SMP \n> RIP: 0010:[<0000000000000000>]  [<          (null)>]           (null)\n"
    )
    assert (one.address, one.ip, one.symbol) == (0, 0, "")


SENTENCES = (
    "BUG: unable to handle kernel paging request at 000000d63f438020",
    "BUG: unable to handle page fault for address: 000000d63f438020",
    "BUG: kernel NULL pointer dereference, address: 000000d63f438020",
    "Unable to handle kernel paging request at 000000d63f438020 RIP:",
    "[Firmware Bug]: Page fault caused by firmware at PA: 0xd63f438020",
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_first_line_may_be_wrapped_anywhere(sentence):
    words = sentence.split(" ")
    for cut in range(3, len(words) - 1 if "RIP" in sentence else len(words)):
        for second in range(cut, len(words)):
            pieces = [words[:cut], words[cut:second], words[second:]]
            lines = [" ".join(each) for each in pieces if each]
            (one,) = faults("> [    1.0] " + "\n> ".join(lines) + "\n> PGD\n> 0 \n")
            number = next(number for number, line in enumerate(lines, 1) if "d63f438020" in line)
            assert (one.address, one.lines["address"]) == (0xD63F438020, number), lines


def test_words_that_only_begin_like_a_fault_are_none():
    with pytest.raises(NoMapError) as caught:
        read("Now it is Unable to handle\nthe paging request\nBUG: kernel\nhangs\n[Firmware Bug]: Page fault\nfree\n")
    assert caught.value.oopses == ()


@pytest.mark.parametrize("width", [40, 50, 60, 66, 72, 76])
@pytest.mark.parametrize("before", ["> ", "> Jan  1 00:00:00 host kernel: "])
def test_a_whole_oops_in_a_narrow_mail_keeps_its_numbers(width, before):
    whole = old(0xD63F438020, 0, [0]).replace("0x7bd41a0f", "example+0x1/0x2")
    lines = [f"{before}[    0.021] {line}" for line in whole.splitlines()]
    pieces = [wrap(line, max(width, len(before) + 30), break_on_hyphens=False) for line in lines]
    wrapped = "\n".join("\n> ".join(each) for each in pieces)
    (one,), (told,) = faults(wrapped), faults(whole)
    for name in ("address", "ip", "symbol", "error_code", "entries", "registers", "trace"):
        assert getattr(one, name) == getattr(told, name), name


def test_a_page_that_belongs_to_another_is_told_as_such():
    (one,) = faults(
        new(0xFFFF8881C2345000, 0x80000003, [0x3A02067, 0x3A02067, 0x1B0D063, 0x1B3063, 0x80000001C2345163])
    )
    assert any("SEV-SNP (RMP)" in each.says for each in diagnose(one).findings)


def test_a_corrupted_page_table_is_a_page_fault():
    (one,) = faults(
        "a.out: Corrupted page table at address 7f0023456000\nPGD 12356067 PUD 12357067 PMD 12358067 "
        "PTE fff8000012356067\n"
        "Bad pagetable: 000d [#1] SMP\nRIP: 0033:[<00000000004006d6>]  [<00000000004006d6>] 0x4006d5\n"
    )
    assert (one.address, one.error_code, one.entries[-1]) == (0x7F0023456000, 0xD, ("pte", 0xFFF8000012356067))
    assert any("reserved bit" in each.says for each in diagnose(one).findings)


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


# what a hostile reader found


SPLIT = "[    1.0] BUG: unable to handle kernel paging request at 000000c63f438020\n[    1.0] IP: 0x7bd41a10\n"


@pytest.mark.parametrize("front", ["", "[    1.0] ", "> [    1.0] ", "May  3 10:00:00 box kernel: "])
def test_levels_that_are_printed_one_by_one_are_one_walk(front):
    """4.9 to 4.13."""
    levels = "".join(f"{front}{level} \n" for level in ("PGD 1a0c067", "PUD 1a0d067", "PMD 0"))
    (one,) = faults(f"{SPLIT}{levels}[    1.0] Oops: 0000 [#1] SMP\n")
    assert one.entries == [("pgd", 0x1A0C067), ("pud", 0x1A0D067), ("pmd", 0)]


def test_the_array_of_another_service_is_no_bug_of_2012():
    log = old(0xC63F438020, 0, [0])
    other = log.replace("---[", " [<ffffffff81b0b7c1>] virt_efi_get_variable+0x2a/0xe2\n---[")
    assert [diagnose(faults(text)[0]).cause for text in (log, other)] == ["bug of 2012", "none of these"]


def test_the_old_mapping_fails_from_memory_kaslr_until_it_follows_it():
    for version, cause in (("4.7.0", "none of these"), ("4.10.0", "KASLR with old_map"), ("4.15.0", "none of these")):
        text = "Command line: efi=old_map\n" + new(0x6BD41A10, 0x10, [0]).replace("6.12.0-test", version)
        text = text.replace("RIP: 0010:efivar_entry_list+0x12/0x34", "RIP: 0010:0x6bd41a10") + CHAIN
        (found,) = check(io.BytesIO(text.encode())).faults
        assert found.cause == cause
        if cause != "none of these":
            assert found.findings[-2].lines == (1,)
            assert CliRunner().invoke(cli, found.command.split()[1:]).exit_code == 0


@pytest.mark.parametrize(
    "named", ["Hardware name: Other Inc. Box", "CPU: 0 PID: 1 Comm: x Not tainted 4.4.0 #1 Other Inc."]
)
def test_a_quoted_oops_of_another_machine_is_not_judged_by_this_ones_map(named):
    own = "Linux version 5.10.0-test (a@b) #1 SMP\nDMI: Example Corp. Model 9/Board, BIOS 1.0\n"
    own += MAP.partition("\n")[2].replace("OPTIONS", "")
    oops = old(0x6543F7F0, 0, [0]).replace("Call Trace", f"{named}\nCall Trace")
    (found,) = check(io.BytesIO(f"{own}{oops}".encode())).faults
    assert not found.oops.of_the_map
    assert not any("usable" in each.says for each in found.findings)


@pytest.mark.parametrize(
    "other", ["watchdog: BUG: soft lockup - CPU#1 stuck for 22s!", "general protection fault: 0000"]
)
def test_frames_of_another_report_are_not_the_faults(other):
    oops = new(0x40, 0, [0]).replace("efivar_entry_list", "nvme_probe")
    (one,) = faults(f"{oops}{other}\nCall Trace:\n efi_call_rts+0x1/0x2\n")
    assert one.trace == []
    assert diagnose(one).findings[-1].says.startswith("nothing in it names EFI")


def test_a_frame_that_is_left_over_below_a_strangers_is_no_call():
    frames = "Call Trace:\n foo_probe+0x1/0x2\n ? efi_call+0x1/0x2\n"
    for trace, in_efi in ((frames, False), (frames.replace(" foo", " ? foo"), True)):
        (one,) = faults(old(0x1000, 0, [0]).partition("Call Trace")[0] + trace)
        assert Scene(one).in_efi is in_efi


EFI_LIST = "efi: mem00: [{}|   |  |  |  |  |  |  |   |WB|WT|WC|UC] range=[0x60000000-0x66ffffff] (112MB)\n"


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("Boot Data", "boot-services memory touched late"),
        ("Loader Data", "none of these"),
        ("Runtime Data", "none of these"),
    ],
)
def test_whose_memory_it_is_is_told_by_efis_list_before_e820(kind, cause):
    text = MAP.replace("OPTIONS", "") + EFI_LIST.format(f"{kind:19}") + FIRMWARE.format(0x6543F7F0)
    (found,) = check(io.BytesIO(text.encode())).faults
    assert found.cause == cause


def test_after_kexec_only_what_the_services_keep_lacks_its_identity_map():
    for address, cause in (
        (0x6BD41A10, "no identity map after kexec"),
        (0x6543F7F0, "boot-services memory touched late"),
    ):
        text = MAP.replace("OPTIONS", "elfcorehdr=867700K") + FIRMWARE.format(address)
        (found,) = check(io.BytesIO(text.encode())).faults
        assert found.cause == cause
    assert 2 not in found.findings[-1].lines


@pytest.mark.parametrize(
    ("code", "leaf", "words"),
    [
        (0x1, 0x67, "SMAP forbids it"),
        (0x11, 0x67, "SMEP forbids it"),
        (0x3, 0x65, "that the entries forbid"),
        (0x11, 0x63, "that the entries forbid"),
        (0x25, 0x67, "that a protection key forbids"),
    ],
)
def test_what_the_entries_allow_is_not_forbidden_by_them(code, leaf, words):
    (one,) = faults(new(0x7F1234567000, code, [0x1067, 0x1067, 0x2067, 0x3067, 0x4000 | leaf]))
    assert any(words in each.says for each in diagnose(one).findings)


def test_a_swapped_page_is_not_called_hidden():
    (one,) = faults(new(0x7F1234567000, 0, [0x1067, 0x1067, 0x2067, 0x3067, 0x7FFFFFF2E5A3C402]))
    assert diagnose(one).findings[-2].says.endswith("not present, though other bits are set")


def test_five_levels_are_told_by_the_entries_or_the_address():
    for address, entries, level in (
        (0xFF11000123456000, [0x1067, 0x1067, 0x2067, 0], 273),
        (0xFFFF888123456000, [0x1067, 0x2067, 0x3067, 0], 511),
        (0xFFFF888123456000, [0x1067, 0x1067, 0x3067, 0], 273),
    ):
        assert diagnose(faults(new(address, 0, entries))[0]).slot == level


def test_symbols_in_braces_are_read():
    (one,) = faults(
        "Unable to handle kernel paging request at 00000000c63f4380 RIP: \n<ffffffff80131ff1>{schedule+33}\n"
        "PGD 0 \nOops: 0000 [1] SMP \nRIP: 0010:[<ffffffff80131ff1>] <ffffffff80131ff1>{schedule+33}\n"
        "Call Trace: <ffffffff8010b1c8>{:e1000:e1000_probe+12} <ffffffff8010b1c9>{efi_call4+4}\n"
    )
    assert (one.symbol, one.trace) == ("schedule", ["e1000_probe", "efi_call4"])


def test_a_fault_whose_first_lines_have_scrolled_off_begins_with_its_code():
    log = old(0xC63F438020, 0, [0]).replace("---[", " [<ffffffff81b0b7c1>] efi_enter_virtual_mode+0x2ea/0x3e2\n---[")
    cut = log[log.index("Oops:") :].replace("CPU 0 ", "RIP: 0010:[<000000007bd41a10>]  [<000000007bd41a10>] 0x7bd41a0f")
    found = diagnose(faults(cut)[0])
    assert (found.oops.address, found.cause, found.slot) == (0xC63F438020, "bug of 2012", 1)
    with pytest.raises(NoMapError) as caught:
        read("Internal error: Oops: 96000004 [#1] SMP\npc : foo+0x1/0x2\n")  # that is arm64
    assert caught.value.oopses == ()


def test_what_was_typed_by_hand_is_read():
    (one,) = faults(
        "BUG: unable to handle page fault for address 000000c01f4a8020\nIP: 000000007cc01022\nPGD 0\n"
        "#PF: supervisor write access\nCall Trace:\n efi_call4\n efi_enter_virtual_mode\n"
    )
    assert (one.address, one.ip, one.access) == (0xC01F4A8020, 0x7CC01022, "write")
    assert one.trace == ["efi_call4", "efi_enter_virtual_mode"]


def test_a_damaged_list_does_not_hide_a_fault():
    text = "BIOS-e820: [mem 0x0000000000000000-0x00000000000\n" + old(0xC63F438020, 0, [0])
    found = check(io.BytesIO(text.encode()))
    assert [each.cause for each in found.faults] == ["bug of 2012"]
    assert "note: a damaged list is not used: line 1" in checked(found, "log")


def test_the_faults_beside_a_damaged_list_are_those_of_the_boot_that_is_asked_for():
    boot = "Linux version 4.1{0}.0 (a@b) #1 SMP\nDMI: Model {0}\nBIOS-e820: [mem 0x0000000000000000-0x0000\n{1}"
    text = boot.format(1, old(0xC63F438020, 0, [0])) + boot.format(2, old(0xD63F438020, 0, [0]))
    for number, addresses in ((None, [0xC63F438020, 0xD63F438020]), (1, [0xC63F438020]), (2, [0xD63F438020])):
        found = check(io.BytesIO(text.encode()), boot=number)
        assert [each.oops.address for each in found.faults] == addresses


def test_an_address_of_the_direct_map_has_its_region():
    oops = old(0xFFFF88006543F010, 0, [0x1FE0067, 0x1FE0067, 0x1FE1067, 0]).replace(
        "CPU 0 ", "Pid: 1, comm: swapper Not tainted 3.5.0 #1"
    )
    text = MAP.replace("OPTIONS", "").replace("5.10.0-test", "3.5.0") + oops
    (found,) = check(io.BytesIO(text.encode())).faults
    assert any("the physical address 0x6543f010, in what e820 calls usable" in each.says for each in found.findings)


def test_efis_own_code_and_its_queue_are_not_nothing_of_efi():
    (one,) = faults(new(0x40, 0, [0]))
    assert diagnose(one).findings[-1].says.startswith("the kernel's own code for EFI is named")
    queue = new(0xFFFF888000001000, 0, [0]).replace("RIP: 0010:efivar_entry_list+0x12/0x34", "RIP: 0010:0x6bd41a10")
    (one,) = faults(queue.replace("Hardware", "Workqueue: efi_rts_wq efi_call_rts\nHardware"))
    assert Scene(one).in_efi


def test_the_unwinders_warning_is_no_other_report():
    log = old(0xC63F438020, 0, [0])
    warned = log.replace("RAX:", "WARNING: kernel stack regs at ffff880123456789 in x:1 has bad 'bp' value 0\nRAX:")
    assert faults(warned)[0].registers == faults(log)[0].registers


def test_prose_below_a_trace_is_no_frame():
    oops = old(0xC63F438020, 0, [0]).replace("---[ end trace 0 ]---\n", "")
    (one,) = faults(f"{oops}\nIt ends in\nefi_enter_virtual_mode()\n")
    assert one.trace == ["efi_call4"]


def test_a_switch_that_is_left_over_is_no_switch():
    frames = "Call Trace:\n foo_probe+0x1/0x2\n ? efi_enter_virtual_mode+0x1/0x2\n"
    (one,) = faults(old(0xC63F438020, 0, [0]).partition("RAX")[0] + frames)
    assert not Scene(one).in_switch
    assert diagnose(one).cause == "none of these"


@pytest.mark.parametrize("name", ["refill_stock", "addrconf_prefix_rcv"])
def test_efi_within_a_word_is_not_efi(name):
    (one,) = faults(new(0x40, 0, [0]).replace("efivar_entry_list", name))
    assert diagnose(one).findings[-1].says.startswith("nothing in it names EFI")


def test_smap_is_not_blamed_where_it_is_off():
    log = new(0x7F1234567000, 1, [0x1067, 0x1067, 0x2067, 0x30E7])
    for cr4, words in (
        ("", "SMAP forbids"),
        ("CR4: 00000000003006e0", "SMAP"),
        ("CR4: 00000000000006e0", "entries forbid"),
    ):
        (one,) = faults(f"{log}{cr4}\n")
        assert any(words in each.says for each in diagnose(one).findings)


def test_an_address_that_no_processor_has_belongs_to_no_slot():
    (one,) = faults(old(0xDEAD000000000100, 0, [0]))
    assert diagnose(one).slot is None


def test_a_kernel_whose_version_is_not_told_is_not_an_old_one():
    for version, words in (("", "nothing is mapped there"), ("Not tainted 3.5.0 #1\n", "lent it the slots below only")):
        (one,) = faults(old(0xC63F438020, 0, [0]).replace("RAX", f"{version}RAX"))
        assert diagnose(one).findings[-1].says.endswith(words)


def test_a_title_or_a_quotation_is_not_a_second_fault():
    log = old(0xC63F438020, 0, [0])
    title = log.partition("\n")[0]
    assert len(faults(f"{title}\nAttached is the log.\n{log}")) == 1
    assert len(faults(log + "".join(f"> {line}\n" for line in log.splitlines()))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "PANIC: early exception 0e rip 10:ffffffff81b0b7c1 error 0 cr2 ffffffffff240000",
        "PANIC: early exception 0x0e IP 10:ffffffff81b0b7c1 error 0x0 cr2 0xffffffffff240000",
    ],
)
def test_a_fault_before_there_are_handlers_is_read(line):
    (one,) = faults(f"{line}\n")
    assert (one.address, one.ip, one.error_code) == (0xFFFFFFFFFF240000, 0xFFFFFFFF81B0B7C1, 0)
    with pytest.raises(NoMapError) as caught:
        read(line.replace("0e ", "0d ") + "\n")
    assert caught.value.oopses == ()


def test_pml4_of_2_6_9_is_the_top_level():
    (one,) = faults("Unable to handle kernel paging request at 0000000000001000 RIP: \nPML4 1067 PGD 105027 PMD 0 \n")
    assert one.entries == [("pgd", 0x1067), ("pud", 0x105027), ("pmd", 0)]


def test_the_instruction_may_stand_on_the_next_stamped_line():
    text = new(0x40, 0, [0]).replace(
        "RIP: 0010:efivar_entry_list",
        "RIP: 0010:[<ffffffff81361cbd>]\n[    1.0]  [<ffffffff81361cbd>] efivar_entry_list",
    )
    assert faults(text)[0].symbol == "efivar_entry_list"


@pytest.mark.parametrize(("version", "flag"), [("5.9.0", "PTI"), ("6.6.0", "PTI"), ("4.15.0", "NOPTI")])
def test_isolation_and_the_old_mapping_are_not_told_where_one_of_them_is_not_there(version, flag):
    _, log = KINDS["KPTI with old_map"]
    log = log.replace("RIP: 0010:efivar_entry_list+0x12/0x34", "RIP: 0010:0x6b835f90")
    causes = [
        diagnose(faults(log.replace("6.12.0-test", kernel).replace("SMP PTI", f"SMP {told}"))[0]).cause
        for kernel, told in (("5.8.0", "PTI"), (version, flag))
    ]
    assert causes == ["KPTI with old_map", "none of these"]
