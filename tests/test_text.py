"""Stories as text: whole outputs, read by a person before they were put here."""

import re

import pytest

import efimm
from efimm.linux.page_alloc import another_node
from efimm.text import story, text


def test_the_prelog_and_the_fault_of_3_5_read_as_a_story():
    linux = efimm.boot(efimm.machine("1T", buffer=0x8000001000), "3.5")
    message = re.escape("page fault at 0x8000001020: pgd[1] not present (error code 0x0)")
    with linux.trace.record() as events, pytest.raises(efimm.PageFault, match=message):
        efimm.efi_enter_virtual_mode(linux)
    lines = story(events).splitlines()
    start = lines.index("  kernel: efi_call_phys_prelog")

    assert lines[start:] == EXPECTED.splitlines()


EXPECTED = """\
  kernel: efi_call_phys_prelog
    swapper_pg_dir[0] = 0x1196063 (was 0x0)
    TLB flushed, global pages too
  end of efi_call_phys_prelog
  cpu writes 0xffffffff8118bff8 -> 0x118bff8
  cpu fetches at 0x7f300100 -> 0x7f300100
  firmware: SetVirtualAddressMap
    cpu reads 0x7f300800 -> 0x7f300800
    firmware: commit: VirtualMode = TRUE, remember the pointer
      cpu writes 0x7f300800 -> 0x7f300800 (2 times, up to 0x7f300808)
    end of commit: VirtualMode = TRUE, remember the pointer
    firmware: notify VariableRuntimeDxe of VIRTUAL_ADDRESS_CHANGE
      cpu reads 0x7f301800 -> 0x7f301800
      PAGE FAULT on read of 0x8000001020: pgd[1] = 0x0, error code 0x0
      console | BUG: unable to handle kernel paging request at
          0000008000001020
      console | IP: [<000000007f300100>] 0x7f3000ff
      console | PGD 0
      console | Oops: 0000 [#1]
      console | CR2: 0000008000001020 CR3: 0000000001195000
      console | Kernel panic - not syncing: Attempted to kill the idle
          task!
never came to its end: notify VariableRuntimeDxe of
    VIRTUAL_ADDRESS_CHANGE
never came to its end: SetVirtualAddressMap
never came to its end: efi_enter_virtual_mode"""


def test_every_form_of_text_fits_into_72_columns():
    found = efimm.run(efimm.machine("1T"), "hpa-sync")
    for what in (found, found.trace, found.linux.cpu.walk(0x1234), found.linux.map):
        assert [] == [line for line in text(what).splitlines() if len(line) > 72]


@pytest.mark.parametrize(("ram", "kernel"), [("1T", "3.5"), ("300G", "7.3"), ("32T", "3.8")])
def test_where_the_arrays_node_is_assumed_another_one_is_named_that_works(ram, kernel):
    """On a machine of one node it is measured; a place that was chosen is told as it is."""
    found = efimm.run(efimm.machine(ram), kernel)
    words = " ".join(efimm.text(found).split())
    [other] = re.findall(r"assumed, another node may get it: --buffer (0x[0-9a-f]+)", words)
    moved = efimm.run(efimm.machine(ram, buffer=other), kernel)

    assert moved.buffer_pa == int(other, 16)
    assert abs(moved.buffer_pa - found.buffer_pa) > 64 << 30
    assert "assumed" not in efimm.text(moved)
    assert "assumed" not in efimm.text(efimm.run(efimm.machine("4G"), kernel))


def test_on_the_other_side_of_the_line_where_there_is_one():
    linux = efimm.run(efimm.machine("1T"), "3.5").linux

    assert another_node(linux) < 512 << 30 < linux.virt_to_phys(linux.new_memmap)
