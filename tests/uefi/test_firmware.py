"""The firmware's side of the call, against UEFI 2.10 and the order of edk2's Runtime.c; tables are read as bytes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace

import pytest

import efimm
from efimm.linux.efi import efi_enter_virtual_mode
from efimm.trace import Access, Enter, Fault, Leave, Trace
from efimm.uefi import EfiMemoryDescriptor, EfiStatus, Firmware, MemoryMap, WildCall
from efimm.uefi.firmwares import EDK2
from efimm.x86 import Cpu, PageFault, PhysMemory

GIB = 1 << 30
RUNTIME, WB = 1 << 63, 8
CODE, DATA = 0x7000_0000, 0x7010_0000
CODE_VA, DATA_VA = 0xFFFF_A000_0000_0000, 0xFFFF_B000_4000_0000  # added to the physical address; both are mapped
ARRAY, STACK = 0x1000_0000, 0x2000_0000
SUCCESS, INVALID, UNSUPPORTED, NOT_FOUND = 0, 1 << 63 | 2, 1 << 63 | 3, 1 << 63 | 14
BUFFER_TOO_SMALL = 1 << 63 | 5

# EFI_RUNTIME_SERVICES behind its 24-byte header, UEFI 2.10, 4.5.1.
SERVICES = (
    *("GetTime", "SetTime", "GetWakeupTime", "SetWakeupTime", "SetVirtualAddressMap", "ConvertPointer"),
    *("GetVariable", "GetNextVariableName", "SetVariable", "GetNextHighMonotonicCount", "ResetSystem"),
    *("UpdateCapsule", "QueryCapsuleCapabilities", "QueryVariableInfo"),
)
STAY = {"SetVirtualAddressMap", "ConvertPointer"}

# A region: type, physical start, virtual start, pages, attribute


def descriptor(region, size=48):
    """One EFI_MEMORY_DESCRIPTOR: Type at 0, PhysicalStart 8, VirtualStart 16, NumberOfPages 24, Attribute 32."""
    kind, physical, virtual, pages, attribute = region
    return struct.pack("<I4xQQQQ", kind, physical, virtual, pages, attribute).ljust(size, b"\xee")


CODE_REGION = (5, CODE, CODE_VA + CODE, 256, RUNTIME | WB)
DATA_REGION = (6, DATA, DATA_VA + DATA, 256, RUNTIME | WB)
BOOT_REGION = (4, 0x4000_0000, 0xFFFF_8800_4000_0000, 64, WB)


@dataclass
class Board:
    """A firmware without any kernel: identity-mapped memory below 512 GiB, and room at the new addresses."""

    cpu: Cpu
    trace: Trace
    firmware: Firmware

    @property
    def memory(self):
        return self.cpu.memory

    def call(self, name, *arguments):
        return int(self.firmware.call(self.cpu, self.firmware.service(name), *arguments))

    def put_array(self, *regions, stride=48, at=ARRAY):
        self.memory.write(at, b"".join(descriptor(region, stride) for region in regions))

    def switch(self, *regions, stride=48):
        """The normal call: the array in memory, then SetVirtualAddressMap."""
        self.put_array(*regions, stride=stride)
        return self.call("SetVirtualAddressMap", stride * len(regions), stride, 1, ARRAY)

    def u64(self, pa):
        return int.from_bytes(self.memory.read(pa, 8), "little")

    def services(self):
        table = self.firmware.layout.runtime_table
        return {name: self.u64(table + 24 + 8 * k) for k, name in enumerate(SERVICES)}

    def system_pointers(self):
        """FirmwareVendor, RuntimeServices, ConfigurationTable (UEFI 2.10, 4.3.1, 64-bit offsets)."""
        return [self.u64(self.firmware.system_table + offset) for offset in (24, 88, 112)]

    def everything(self):
        """All that the firmware owns."""
        return self.memory.read(CODE, 0x100000) + self.memory.read(DATA, 0x100000)


@pytest.fixture
def board():
    memory, trace = PhysMemory(), Trace()
    one_gib_pages = [(0x2000, 0), (0x3000, 1)]  # table, how many GiB its addresses are above the physical ones
    for table, shift in one_gib_pages:
        for k in range(512 - shift):
            memory.write(table + 8 * (k + shift), struct.pack("<Q", k * GIB | 0xE3))
    for slot, table in ((0, 0x2000), (CODE_VA >> 39 & 511, 0x2000), (DATA_VA >> 39 & 511, 0x3000)):
        memory.write(0x1000 + 8 * slot, struct.pack("<Q", table | 0x63))
    cpu = Cpu(memory, trace)
    cpu.cr3, cpu.rsp, cpu.rip = 0x1000, STACK, 0x3000_0000
    regions = (CODE_REGION, DATA_REGION)
    memory_map = MemoryMap("board", tuple(EfiMemoryDescriptor(k, pa, 0, n, at) for k, pa, _, n, at in regions))
    return Board(cpu, trace, Firmware(EDK2, memory, memory_map, trace))


def crc_is_valid(table):
    """EFI_TABLE_HEADER: HeaderSize at 12, CRC32 at 16, computed over HeaderSize bytes with the field as 0."""
    size, crc = struct.unpack_from("<II", table, 12)
    return zlib.crc32(table[:16] + bytes(4) + table[20:size]) == crc


def tables_are_valid(board):
    layout = board.firmware.layout
    return [crc_is_valid(board.memory.read(at, 0x100)) for at in (layout.runtime_table, layout.system_table)]


def converted(pa):
    return pa + (CODE_VA if CODE <= pa < CODE + 0x100000 else DATA_VA)


def steps(events):
    return [event.step for event in events if isinstance(event, Enter) and event.actor == "firmware"]


# before the switch


def test_the_tables_have_the_specifications_signatures_and_valid_sums(board):
    layout = board.firmware.layout

    assert [b"RUNTSERV", b"IBI SYST"] == [
        board.memory.read(at, 8) for at in (layout.runtime_table, layout.system_table)
    ]
    assert [True, True] == tables_are_valid(board)
    assert [0x88, 0x78] == [board.u64(at + 8) >> 32 for at in (layout.runtime_table, layout.system_table)]


def test_the_tables_lie_in_runtime_data_and_all_functions_in_runtime_code(board):
    layout = board.firmware.layout

    assert all(DATA <= at < DATA + 0x100000 for at in (layout.runtime_table, layout.system_table))
    assert all(CODE <= at < CODE + 0x100000 for at in board.services().values())
    assert len(set(board.services().values())) == 14
    assert board.services() == {name: board.firmware.service(name) for name in SERVICES}
    assert layout.runtime_table == board.system_pointers()[1]


# a success


def test_a_success_converts_twelve_services_and_three_system_pointers_exactly(board):
    before, system = board.services(), board.system_pointers()
    assert SUCCESS == board.switch(BOOT_REGION, CODE_REGION, DATA_REGION)

    expected = {name: pa if name in STAY else converted(pa) for name, pa in before.items()}
    assert expected == board.services()
    assert [converted(pa) for pa in system] == board.system_pointers()
    assert sum(board.services()[name] != pa for name, pa in before.items()) == 12


def test_the_sums_are_right_again_after_the_switch_and_differ_from_before(board):
    layout = board.firmware.layout
    sums = [board.memory.read(at + 16, 4) for at in (layout.runtime_table, layout.system_table)]
    board.switch(CODE_REGION, DATA_REGION)

    assert [True, True] == tables_are_valid(board)
    assert all(old != board.memory.read(at + 16, 4) for old, at in zip(sums, _tables(board), strict=True))


def _tables(board):
    return board.firmware.layout.runtime_table, board.firmware.layout.system_table


def test_headers_and_counts_are_no_pointers_and_stay(board):
    """Signature, revision, header size; VendorRevision, the cleared console and boot fields, the number of tables."""
    kept = [(at, 16) for at in _tables(board)] + [(board.firmware.system_table + 32, 56)]
    kept.append((board.firmware.system_table + 96, 16))
    before = [board.memory.read(at, size) for at, size in kept]
    board.switch(CODE_REGION, DATA_REGION)

    assert before == [board.memory.read(at, size) for at, size in kept]


def test_the_steps_come_in_edk2s_order(board):
    start = len(board.trace.events)
    board.switch(CODE_REGION, DATA_REGION)
    found = [step.split()[0] for step in steps(board.trace.events[start:])]
    images = len(board.firmware.layout.images)

    assert ["SetVirtualAddressMap", "commit:", *["notify"] * images, *["relocate"] * images, *["convert"] * 2] == found
    assert ["runtime", "system"] == [step.split()[2] for step in steps(board.trace.events)[-2:]]


def test_nothing_reads_the_array_before_the_commit_has_ended(board):
    board.switch(CODE_REGION, DATA_REGION)
    events = board.trace.events
    commit = next(k for k, e in enumerate(events) if isinstance(e, Leave) and e.step.startswith("commit"))
    reads = [k for k, e in enumerate(events) if isinstance(e, Access) and ARRAY <= e.va < ARRAY + 96]

    assert commit < min(reads)


def test_the_first_read_of_the_array_is_the_attribute_of_its_first_descriptor(board):
    board.switch(BOOT_REGION, CODE_REGION, DATA_REGION)
    reads = [e for e in board.trace.events if isinstance(e, Access) and ARRAY <= e.va < ARRAY + 144]

    assert Access("read", ARRAY + 0x20, 8, ARRAY + 0x20) == reads[0]
    assert {"read"} == {e.kind for e in reads}
    assert all(ARRAY + 48 <= e.va or e.va == ARRAY + 0x20 for e in reads), "of a boot region, only the attribute counts"


def test_images_are_relocated_by_the_distance_of_their_base(board):
    images = board.firmware.layout.images
    before = {place: board.u64(place) for image in images for place in image.relocations}
    records = {image.base_record: board.u64(image.base_record) for image in images}
    board.switch(CODE_REGION, DATA_REGION)

    assert {place: value + CODE_VA for place, value in before.items()} == {place: board.u64(place) for place in before}
    assert {place: value + CODE_VA for place, value in records.items()} == {
        place: board.u64(place) for place in records
    }


def test_the_map_is_forgotten_and_the_configuration_tables_contents_are_left_alone(board):
    contents = board.memory.read(board.system_pointers()[2], 256)
    pa = board.system_pointers()[2]
    board.switch(CODE_REGION, DATA_REGION)

    assert contents == board.memory.read(pa, 256)
    assert struct.pack("<Q", ARRAY) not in board.everything()


@pytest.mark.parametrize("virtual", [0, 0x1000, (1 << 64) - 0x100000])
def test_any_virtual_start_is_added_as_it_is(board, virtual):
    """Below, above, anything: pa - PhysicalStart + VirtualStart."""
    before = board.services()
    board.switch((5, CODE, virtual, 256, RUNTIME), DATA_REGION)

    assert {board.services()[name] - virtual for name in SERVICES if name not in STAY} == {
        before[name] - CODE for name in SERVICES if name not in STAY
    }


# strides


@pytest.mark.parametrize("stride", [40, 48, 56, 128])
def test_the_array_is_stepped_by_descriptor_size(board, stride):
    before, system = board.services(), board.system_pointers()
    assert SUCCESS == board.switch(BOOT_REGION, BOOT_REGION, CODE_REGION, DATA_REGION, stride=stride)

    assert converted(before["GetTime"]) == board.services()["GetTime"]
    assert [converted(pa) for pa in system] == board.system_pointers()


def test_a_48_byte_array_read_with_40_is_garbage_after_its_first_descriptor(board):
    board.put_array(DATA_REGION, CODE_REGION)
    before, system = board.services(), board.system_pointers()

    assert SUCCESS == board.call("SetVirtualAddressMap", 96, 40, 1, ARRAY)
    assert before == board.services(), "the second descriptor, the code's, was not understood"
    assert [converted(pa) for pa in system] == board.system_pointers()


@pytest.mark.parametrize("rest", [1, 47])
def test_what_is_left_of_the_size_is_ignored(board, rest):
    """Two whole descriptors and a rest: the third, which would convert the data, is not counted."""
    board.put_array(BOOT_REGION, CODE_REGION, DATA_REGION)
    before, system = board.services(), board.system_pointers()

    assert SUCCESS == board.call("SetVirtualAddressMap", 96 + rest, 48, 1, ARRAY)
    assert converted(before["GetTime"]) == board.services()["GetTime"]
    assert system == board.system_pointers()


def test_a_size_below_one_descriptor_is_an_empty_map_and_a_success(board):
    before, system = board.services(), board.system_pointers()

    assert SUCCESS == board.call("SetVirtualAddressMap", 47, 48, 1, 1 << 45)
    assert (before, system) == (board.services(), board.system_pointers())


# which descriptor counts


def test_a_region_that_is_not_marked_runtime_converts_nothing(board):
    before, system = board.services(), board.system_pointers()
    not_runtime = [(5, CODE, CODE_VA + CODE, 256, WB), (6, DATA, DATA_VA + DATA, 256, ~RUNTIME & (1 << 64) - 1)]

    assert SUCCESS == board.switch(*not_runtime)
    assert (before, system) == (board.services(), board.system_pointers())


def test_the_first_runtime_region_around_an_address_decides_and_the_type_does_not(board):
    before = board.services()
    board.switch((4, CODE, 0x1000_0000_0000, 256, RUNTIME), CODE_REGION, DATA_REGION)

    assert before["GetTime"] - CODE + 0x1000_0000_0000 == board.services()["GetTime"]


def test_a_region_ends_before_its_end(board):
    """The vendor string lies on a page boundary: the region that ends there has no say, the one that starts has."""
    vendor = board.system_pointers()[0]
    assert vendor % 4096 == 0
    pages = (vendor - DATA) // 4096
    board.switch(
        CODE_REGION, (6, DATA, 0xA000_0000_0000, pages, RUNTIME), (6, vendor, 0xB000_0000_0000, 256 - pages, RUNTIME)
    )

    assert [0xB000_0000_0000, 0xA000_0000_0000] == [board.system_pointers()[k] & ~0xFFF for k in (0, 1)]
    assert board.system_pointers()[0] == 0xB000_0000_0000


# refusals and the one shot


@pytest.mark.parametrize(("size", "version"), [(39, 1), (0, 1), (48, 0), (48, 2), (48, 1 << 31)])
def test_a_wrong_descriptor_size_or_version_is_refused_and_not_committed(board, size, version):
    board.put_array(CODE_REGION, DATA_REGION)
    before = board.everything()
    start = len(board.trace.events)

    assert INVALID == board.call("SetVirtualAddressMap", 96, size, version, ARRAY)
    assert before == board.everything()
    assert ["SetVirtualAddressMap"] == steps(board.trace.events[start:])
    assert SUCCESS == board.call("SetVirtualAddressMap", 96, 48, 1, ARRAY), "a retry is allowed"


def test_before_exit_boot_services_the_call_is_unsupported(board):
    board.memory.write(board.firmware.layout.variables + 1, b"\0")  # AtRuntime
    before = board.everything()

    assert UNSUPPORTED == board.switch(CODE_REGION, DATA_REGION)
    assert before == board.everything()


def test_a_second_call_is_unsupported_and_changes_nothing(board):
    board.switch(CODE_REGION, DATA_REGION)
    after = board.everything()
    svam = board.services()["SetVirtualAddressMap"]

    assert UNSUPPORTED == board.firmware.call(board.cpu, svam, 96, 48, 1, ARRAY)
    assert UNSUPPORTED == board.firmware.call(board.cpu, svam + CODE_VA, 96, 48, 1, ARRAY)
    assert UNSUPPORTED == board.firmware.call(board.cpu, svam, 96, 39, 2, ARRAY), "the guard comes first"
    assert after == board.everything()


def test_a_fault_comes_after_the_commit_and_makes_a_retry_unsupported(board):
    board.put_array(CODE_REGION, DATA_REGION)
    before, system = board.services(), board.system_pointers()
    with pytest.raises(PageFault) as caught:
        board.call("SetVirtualAddressMap", 96, 48, 1, 1 << 39)

    assert ((1 << 39) + 0x20, 0, "pgd", 1) == (
        board.cpu.cr2,
        caught.value.error_code,
        caught.value.level,
        caught.value.index,
    )
    assert (before, system) == (board.services(), board.system_pointers())
    assert UNSUPPORTED == board.call("SetVirtualAddressMap", 96, 48, 1, ARRAY)


def test_the_fault_happens_in_the_first_notification(board):
    with pytest.raises(PageFault):
        board.call("SetVirtualAddressMap", 96, 48, 1, 1 << 39)
    events = board.trace.events
    left = {event.step for event in events if isinstance(event, Leave)}

    assert isinstance(events[-1], Fault)
    (first,) = [step for step in steps(events) if step not in left and step != "SetVirtualAddressMap"]
    assert first.startswith("notify")
    assert {step for step in left if not step.startswith("commit")} == set()


def test_an_array_that_ends_in_a_hole_faults_at_the_descriptor_in_the_hole(board):
    at = (1 << 39) - 48
    board.put_array(BOOT_REGION, at=at)
    with pytest.raises(PageFault):
        board.call("SetVirtualAddressMap", 96, 48, 1, at)

    assert (1 << 39) + 0x20 == board.cpu.cr2


# calls


def test_a_call_leaves_stack_and_rip_as_they_were_and_its_return_address_below(board):
    board.switch(CODE_REGION, DATA_REGION)

    assert (STACK, 0x3000_0000) == (board.cpu.rsp, board.cpu.rip)
    assert board.u64(STACK - 8) == 0x3000_0000


def test_a_call_without_a_stack_faults_before_any_code_runs(board):
    board.cpu.rsp = 1 << 40
    with pytest.raises(PageFault) as caught:
        board.switch(CODE_REGION, DATA_REGION)

    assert ((1 << 40) - 8, 0x02) == (board.cpu.cr2, caught.value.error_code)
    assert [] == steps(board.trace.events)


def test_code_that_must_not_be_executed_is_not(board):
    entry = 0x2000 + 8 * (CODE >> 30)
    board.memory.write(entry, struct.pack("<Q", board.u64(entry) | 1 << 63))
    with pytest.raises(PageFault) as caught:
        board.switch(CODE_REGION, DATA_REGION)

    assert (board.firmware.service("SetVirtualAddressMap"), 0x11) == (board.cpu.cr2, caught.value.error_code)


def test_a_call_next_to_a_function_is_wild(board):
    with pytest.raises(WildCall):
        board.firmware.call(board.cpu, board.firmware.service("GetTime") + 1)


TIME, NAME, VALUE = 0x1800_0000, 0x1800_1000, 0x1800_2000


def get_time(board, address):
    assert SUCCESS == board.firmware.call(board.cpu, address, TIME, 0)
    return board.memory.read(TIME, 16)


@pytest.mark.parametrize("switched", [False, True])
def test_get_time_gives_the_date_of_the_threads_first_message(board, switched):
    """EFI_TIME: year u16, month, day, hour, minute, second."""
    if switched:
        board.switch(CODE_REGION, DATA_REGION)
        board.memory.write(0x1000, bytes(8))  # slot 0: no identity map any more
        board.memory.write(0x1000 + 8, struct.pack("<Q", 0x2063))  # the buffer and the stack through slot 1
        board.cpu.rsp += 1 << 39
    else:
        board.memory.write(0x1000 + 8, struct.pack("<Q", 0x2063))
    address = board.services()["GetTime"]

    assert SUCCESS == board.firmware.call(board.cpu, address, TIME + (1 << 39), 0)
    assert (2012, 6, 20, 8, 25) == struct.unpack_from("<HBBBB", board.memory.read(TIME, 16))


def test_get_variable_works_at_its_new_address_and_knows_no_other_name(board):
    board.switch(CODE_REGION, DATA_REGION)
    get_variable = board.services()["GetVariable"]
    board.memory.write(NAME, "PlatformLang\0".encode("utf-16-le"))

    size = VALUE + 16
    for room, status, value in ((2, BUFFER_TOO_SMALL, bytes(3)), (16, SUCCESS, b"en\0")):
        board.memory.write_u64(size, room)
        assert status == board.firmware.call(board.cpu, get_variable, NAME, 0, 0, size, VALUE)
        assert (3, value) == (board.memory.read_u64(size), board.memory.read(VALUE, 3))
    board.memory.write(NAME, "PlatformLanX\0".encode("utf-16-le"))
    assert NOT_FOUND == board.firmware.call(board.cpu, get_variable, NAME, 0, 0, size, VALUE)


def test_a_runtime_call_touches_nothing_by_its_old_address_after_the_switch(board):
    board.switch(CODE_REGION, DATA_REGION)
    with board.trace.record() as story:
        get_time(board, board.services()["GetTime"])
    touched = [event.va for event in story if isinstance(event, Access)]

    assert not [va for va in touched if CODE <= va < DATA + 0x100000]
    assert len([va for va in touched if va >> 47]) >= 3


# through the kernel: what the array in memory says is what came to be


# All but those that leave the firmware in physical mode.
SWITCHING = [name for name in efimm.KERNELS if efimm.run(efimm.machine("4G"), name).status is not None]


@pytest.fixture(params=SWITCHING)
def switched(request):
    machine = efimm.machine(map="ovmf-vm-12gib")
    linux = efimm.boot(machine, request.param)
    before = Board(linux.cpu, linux.trace, linux.firmware)
    services, system = before.services(), before.system_pointers()
    assert EfiStatus.EFI_SUCCESS == efi_enter_virtual_mode(linux)
    return linux, services, system


def array_of(linux):
    """The descriptors that the kernel handed over, from the bytes of its array."""
    at = linux.new_memmap - linux.layout.page_offset
    elements = [linux.memory.read(at + 48 * k, 40) for k in range(linux.memmap_count)]
    return [struct.unpack("<I4xQQQQ", element) for element in elements]


def test_the_kernels_array_decides_where_everything_goes(
    switched,
):
    linux, services, system = switched
    regions = [region for region in array_of(linux) if region[4] >> 63]

    def moved(pa):
        _, physical, virtual, _, _ = next(r for r in regions if r[1] <= pa < r[1] + 4096 * r[3])
        return pa - physical + virtual

    now = Board(linux.cpu, linux.trace, linux.firmware)
    assert {name: pa if name in STAY else moved(pa) for name, pa in services.items()} == now.services()
    assert [moved(pa) for pa in system] == now.system_pointers()
    assert [True, True] == tables_are_valid(now)


def test_the_array_holds_every_runtime_and_boot_region_in_order_and_no_other(
    switched,
):
    linux, _, _ = switched
    regions = array_of(linux)

    assert all(kind in (3, 4) or attribute >> 63 for kind, _, _, _, attribute in regions)
    runtime = [d for d in linux.map.descriptors if d.attribute >> 63]
    assert sum(d.number_of_pages for d in runtime) == sum(r[3] for r in regions if r[0] not in (3, 4))
    starts = [d.physical_start for d in linux.map.descriptors]
    places = [starts.index(r[1]) for r in regions]
    assert sorted(places) in (places, places[::-1])


# a pointer that leads somewhere else


def zeros_instead(pointer):
    return replace(efimm.KERNELS["3.5"], name="lost", memmap_pointer=lambda _linux, _va: pointer)


def test_an_all_zero_array_is_a_success_that_converts_nothing():
    found = efimm.run(efimm.machine("4G"), zeros_instead(0x5000_0000))
    board = Board(found.linux.cpu, found.linux.trace, found.linux.firmware)

    assert (EfiStatus.EFI_SUCCESS, "wrong-memory", None) == (found.status, found.verdict, found.fault)
    assert board.services() == {name: found.linux.firmware.service(name) for name in SERVICES}
    assert found.linux.firmware.layout.runtime_table == board.system_pointers()[1]
    assert [True, True] == tables_are_valid(board)


def test_after_an_all_zero_array_the_next_call_goes_to_a_physical_address_that_is_not_mapped():
    found = efimm.run(efimm.machine("4G"), zeros_instead(0x5000_0000))
    faults = [event for event in found.trace.events if isinstance(event, Fault)]

    assert [0] == [fault.index for fault in faults], "slot 0 is empty again: that is where physical addresses lie"
    assert found.linux.firmware.layout.runtime_table + 24 == faults[0].cr2, (
        "the first pointer followed: GetTime's place"
    )
