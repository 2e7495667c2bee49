/*
 * The testimony in 32-bit mode, in the order of Linux 3.5's efi_stub_32.S: the firmware is called without paging, on
 * physical addresses; then paging comes back through a table that maps the kernel at its physical address, too.
 */
#include "testimony.h"

#include "cpu.h"
#include "firmware.h"
#include "place.h"
#include "probe.h"
#include "steps.h"
#include "traps.h"

#define CR0_PG 0x80000000u

/* At the kernel's virtual address, with its tables as they are after the switch. */
static void with_paging(void)
{
    distance = (uintn)(request.kernel_va - request.kernel_pa);
    traps_install();
    write_cr3((uintn)request.after_cr3);
    probes_try_and_say();
    firmware_use((uintn)request.system_table_va);
    steps_finish();
}

static void turn_paging_on(void)
{
    steps_place_chunks(request.after_chunks);
    probes_prepare();
    write_cr0((uintn)request.cr0 | CR0_PG);
    steps_go_on(with_paging, (uintn)(request.kernel_va - request.kernel_pa));
}

/* At the kernel's physical address. */
static void without_paging(void)
{
    traps_install();
    steps_load_registers();
    steps_open_request();
    steps_place_chunks(request.call_chunks);
    probes_read(request.probes);
    write_cr3((uintn)request.call_cr3);

    firmware_switch("call", &request);
    firmware_switch("second-call", &request);
    firmware_say_moved();
    if (request.after_cr3)
        turn_paging_on();
    steps_finish();
}

_Noreturn void testify(const struct request *asked, u8 *image_base, u64 image_size)
{
    __asm__ volatile("cli");
    request = *asked;
    write_cr0(read_cr0() & ~CR0_PG); /* the firmware's tables may lie where we are about to write */
    steps_go_on(without_paging, steps_copy_image(image_base, image_size));
}
