/*
 * The testimony in 64-bit mode.  The witness moves to where the kernel would be, so that the kernel's own mapping of its
 * text serves it: nothing needs to be added to the tables, and they are used as they were made, byte for byte.
 */
#include "testimony.h"

#include "cpu.h"
#include "firmware.h"
#include "place.h"
#include "probe.h"
#include "steps.h"
#include "transit.h"
#include "traps.h"

/* What the kernel does after the switch, with its tables as they are by then. */
static void use_the_firmware(void)
{
    steps_place_chunks(request.after_chunks);
    write_cr3(request.after_cr3);
    firmware_use(request.system_table_va);
}

static void at_the_kernels_place(void)
{
    transit_enter(&request);
    traps_install();
    steps_load_registers();
    steps_open_request();
    steps_place_chunks(request.call_chunks);
    probes_read(request.probes);
    probes_prepare();

    write_cr3(request.call_cr3);
    probes_try_and_say();
    firmware_switch("call", &request);
    firmware_switch("second-call", &request);
    transit_again();
    firmware_say_moved();
    if (request.after_cr3)
        use_the_firmware();
    steps_finish();
}

_Noreturn void testify(const struct request *asked, u8 *image_base, u64 image_size)
{
    __asm__ volatile("cli");
    request = *asked;
    transit_enter(&request);                           /* the firmware's own table may lie where we are about to write */
    distance = request.kernel_va - request.kernel_pa; /* for the copy; nothing here needs it any more */
    uintn to_copy = steps_copy_image(image_base, image_size);
    steps_go_on(at_the_kernels_place, to_copy + distance);
}
