"""The story's outcomes, over RAM sizes, placements, kernels, page sizes and real machines."""

import tracemalloc
from dataclasses import replace

import pytest

import efimm
from efimm.linux.layout import pgd_index
from efimm.linux.pgtable import pgd_alloc
from efimm.machines import PAGE_SIZES, data_files
from efimm.trace import Enter, Fault, Leave, LoadCr3, writes
from efimm.uefi import EfiStatus

LINE = 512 << 30
SIZES = ("1G", "2G", "3G", "64G", "256G", "511G", "512G", "513G", "768G", "1T", "2T", "16T", "64T")


def outcome(kernel="3.5", ram="1T", buffer=None, page_size="1G"):
    return efimm.run(efimm.machine(ram, buffer=buffer, page_size=page_size), kernel)


def writes_to_slot_0(found):
    return [write for write in writes(found.trace.events, "swapper_pg_dir") if write.index == 0]


def known_failures():
    """Each kernel on each RAM size; where the kernel's own record names a bug that shows there, failing is expected."""
    cases = []
    for name, kernel in efimm.KERNELS.items():
        for ram in SIZES:
            above = efimm.run(efimm.machine(ram), name).buffer_pa >= LINE
            bug = next((bug for bug in kernel.known_bugs if above), None)
            marks = [pytest.mark.xfail(strict=True, reason=bug.what)] if bug else []
            cases.append(pytest.param(name, ram, marks=marks, id=f"{name}-{ram}"))
    return cases


@pytest.mark.parametrize(("kernel", "ram"), known_failures())
def test_the_call_succeeds_at_every_ram_size(kernel, ram):
    assert outcome(kernel, ram).verdict == "success"


@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_known_bugs_show_as_their_record_says(kernel):
    for bug in efimm.KERNELS[kernel].known_bugs:
        assert bug.verdict == outcome(kernel, bug.ram, bug.buffer).verdict


def test_256_gib_is_safe_and_1_tib_is_not():
    assert outcome(ram="256G").verdict == "success"
    found = outcome(ram="1T")
    assert found.fault is not None

    assert found.verdict == "page-fault"
    assert found.fault.cr2 == found.buffer_pa + 0x20
    assert (0, "pgd", pgd_index(found.buffer_pa)) == (found.fault.error_code, found.fault.level, found.fault.index)


@pytest.mark.parametrize(
    ("buffer", "cr2"),
    [
        (0x12345000, None),
        (0x7FFFFFF000, None),
        (0x8000001000, 0x8000001020),
        (0x7FFFFFFF80, 0x8000000000),  # the third descriptor's Attribute lies exactly on the line
    ],
)
def test_the_line_is_at_512_gib_to_the_byte(buffer, cr2):
    found = outcome(buffer=buffer)

    assert cr2 == (found.fault.cr2 if found.fault else None)
    assert found.verdict == ("page-fault" if cr2 else "success")


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_64_tib_works_in_every_page_size_and_in_little_memory(kernel, page_size):
    tracemalloc.start()
    try:
        found = outcome(kernel, "64T", page_size=page_size)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found.verdict == ("page-fault" if efimm.KERNELS[kernel].known_bugs else "success")
    assert peak < 100e6


@pytest.mark.parametrize("kernel", ["va-patch", "hpa-sync"])
def test_after_a_success_a_second_call_is_unsupported(kernel):
    linux = outcome(kernel).linux
    with linux.kernel.efi_call_phys(linux):
        address = linux.firmware.service("SetVirtualAddressMap")
        status = linux.firmware.call(linux.cpu, address, 48 * linux.memmap_count, 48, 1, linux.pointer)

    assert EfiStatus.EFI_UNSUPPORTED == status


def test_a_readable_but_wrong_array_is_a_silent_failure():
    """The pointer leads to RAM that holds zeros: EFI_SUCCESS, nothing converted, and the next call finds no code."""
    lost = replace(efimm.KERNELS["3.5"], name="lost", memmap_pointer=lambda _linux, _va: 0x4000_0000)
    found = efimm.run(efimm.machine("4G"), lost)

    assert EfiStatus.EFI_SUCCESS == found.status
    assert found.verdict == "wrong-memory"


def test_a_pointer_that_is_not_canonical_is_no_page_fault():
    lost = replace(efimm.KERNELS["3.5"], name="lost", memmap_pointer=lambda _linux, _va: 1 << 60)
    found = efimm.run(efimm.machine("4G"), lost)

    assert (found.verdict, found.status, found.fault) == ("wrong-memory", None, None)
    assert "general protection fault" in found.trace.console[-1]


def test_3_5_borrows_slot_0_and_gives_it_back_only_after_a_success():
    slot_272 = 0x1196063

    assert [(0, slot_272), (slot_272, 0)] == [(w.old, w.new) for w in writes_to_slot_0(outcome(ram="256G"))]
    assert [(0, slot_272)] == [(w.old, w.new) for w in writes_to_slot_0(outcome(ram="1T"))]


def test_the_firmware_commits_before_it_touches_the_array():
    events = outcome().trace.events
    commit = next(k for k, e in enumerate(events) if isinstance(e, Leave) and e.step.startswith("commit"))
    fault = next(k for k, e in enumerate(events) if isinstance(e, Fault))

    assert commit < fault


def test_hpa_sync_runs_the_call_on_the_trampolines_table_below_4_gib():
    found = outcome("hpa-sync")
    call = found.trace.events.index(Enter("firmware", "SetVirtualAddressMap"))
    loads = [e.new for e in found.trace.events[:call] if isinstance(e, LoadCr3)]

    assert loads[-1] == found.linux.trampoline_pgd.pa < 1 << 32
    assert found.summary()["cr3"] == found.linux.trampoline_pgd.pa
    assert [] == writes_to_slot_0(found)


def test_hpa_sync_writes_new_slots_at_both_indices_and_3_5_at_none():
    for kernel, expected in (("hpa-sync", {0, 1, 272, 273}), ("3.5", {0})):
        linux = efimm.boot(efimm.machine("1000G"), kernel)
        slots = set(linux.trampoline_pgd.slots())

        assert expected == {slot for slot in slots if slot < 274}, kernel


def test_a_process_on_pgd_list_gets_new_kernel_slots_and_the_3_5_trampoline_does_not():
    from efimm.linux.direct_map import init_memory_mapping

    linux = efimm.boot(efimm.machine("256G"), "3.5")
    mm = pgd_alloc(linux, "init")
    init_memory_mapping(linux, 1 << 40, (1 << 40) + (1 << 30))

    assert linux.swapper_pg_dir[274] == mm.pgd[274] != 0
    assert linux.trampoline_pgd[274] == 0 == linux.trampoline_pgd[2]


def test_differs_from_names_the_functions_that_differ():
    v3_5, va_patch, hpa_sync = (efimm.KERNELS[name] for name in ("3.5", "va-patch", "hpa-sync"))

    assert va_patch.differs_from(v3_5) == ["memmap_pointer", "i386.memmap_pointer"]
    assert hpa_sync.differs_from(v3_5) == [
        *("setup_real_mode", "pgd_populate", "sync_global_pgds", "efi_call_phys"),
        *("i386.sync_initial_page_table", "i386.set_kernel_pgd"),
    ]


@pytest.mark.parametrize("name", data_files())
@pytest.mark.parametrize("kernel", efimm.KERNELS)
def test_every_machine_in_data_boots_every_kernel(name, kernel):
    found = efimm.run(efimm.machine(map=name), kernel)
    above = found.buffer_pa >= LINE

    assert found.verdict == ("page-fault" if above and efimm.KERNELS[kernel].known_bugs else "success")


def test_every_log_is_either_booted_or_refused_in_one_line(logs):
    """What becomes of the call is decided by where the array lies and which slots are filled: nothing else fails."""
    refused = {}
    for log in sorted(logs.iterdir()):
        try:
            found = efimm.run(efimm.machine(map=log), "3.5")
        except ValueError as error:
            refused[log.name] = str(error)
        else:
            assert found.verdict == ("page-fault" if found.buffer_pa >= LINE else "success"), log.name

    assert {} == {name: words for name, words in refused.items() if "\n" in words or name not in words}
    assert len(refused) < len(list(logs.iterdir())) / 3  # oopses, and a few that list no RAM


def test_the_3_tib_superdome_meets_the_bug_and_the_laptop_does_not():
    assert efimm.run(efimm.machine(map="hp-superdome2-3tib"), "3.5").verdict == "page-fault"
    assert efimm.run(efimm.machine(map="thinkpad-x240-8gib"), "3.5").verdict == "success"


def test_device_regions_get_addresses_in_the_vmalloc_area():
    """The Superdome has 17 runtime regions of 512 MiB each at almost 16 TiB; RAM ends at 3 TiB."""
    linux = efimm.run(efimm.machine(map="hp-superdome2-3tib"), "hpa-sync").linux
    devices = [md for md in linux.memmap if md.type == 11 and md.runtime and md.physical_start > 1 << 43]

    assert len(devices) == 17
    assert {402} == {pgd_index(md.virtual_start) for md in devices}


@pytest.mark.parametrize(
    "bad",
    [
        {"ram": "-3G"},
        {"ram": "12Q"},
        {"ram": "0"},
        {"ram": "65T"},
        {"firmware": "none"},
        {"arch": "arm64"},
        {"page_size": "3M"},
        {"descriptor_size": 39},
        {"descriptor_size": 50},
        {"buffer": 1 << 46},
        {"buffer": "somewhere"},
        {"map": "no-such-file"},
    ],
)
def test_a_machine_that_cannot_be_is_refused_in_one_line(bad):
    with pytest.raises(ValueError, match=r"expected|no such") as caught:
        efimm.machine(**bad)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("buffer", [0x1195000, 0x99000, 0x8000001004, 0x9000000000])
def test_an_array_where_the_kernel_could_not_have_it_is_refused(buffer):
    with pytest.raises(efimm.MachineError, match=f"buffer {buffer:#x}"):
        efimm.run(efimm.machine("560G", buffer=buffer), "3.5")
