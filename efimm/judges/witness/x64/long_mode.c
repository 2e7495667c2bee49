/*
 * The testimony in 64-bit mode.  The witness moves to where the kernel would be, so that the kernel's own mapping of its
 * text serves it: nothing needs to be added to the tables, and they are used as they were made, byte for byte.
 */
#include "cpu.h"
#include "firmware.h"
#include "fw_cfg.h"
#include "place.h"
#include "probe.h"
#include "say.h"
#include "testimony.h"
#include "transit.h"
#include "traps.h"

enum { STACK_SIZE = 0x8000 };

/* Firmware may use SSE, which the simulated kernel's CR4 knows nothing about (OSFXSR, OSXMMEXCPT). */
#define CR4_FOR_SSE 0x600

static struct request request;
static u8 stack[STACK_SIZE] __attribute__((aligned(16)));

static void copy(u8 *to, const u8 *from, u64 size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* The request's chunks, each stored where it says. */
static void place_chunks(u64 count)
{
    u64 bytes = 0;
    for (; count; count--) {
        struct chunk chunk;
        fw_cfg_read(&chunk, sizeof chunk);
        fw_cfg_read_to(chunk.pa, (u32)chunk.size);
        bytes += chunk.size;
    }
    say_line("placed");
    say_number("bytes", bytes);
    say_end();
}

static void load_registers(void)
{
    write_msr(MSR_EFER, request.efer);
    write_cr4(request.cr4 | CR4_FOR_SSE);
    write_cr0(request.cr0);
}

/* What the kernel does after the switch, with its tables as they are by then. */
static void use_the_firmware(void)
{
    place_chunks(request.after_chunks);
    write_cr3(request.after_cr3);
    firmware_use(request.system_table_va);
}

/* Runs at the kernel's address.  The request is read once more, to get behind its header. */
static _Noreturn void at_the_kernels_place(void)
{
    transit_enter(&request);
    traps_install();
    load_registers();
    fw_cfg_open(REQUEST_FILE);
    fw_cfg_read(&request, sizeof request);
    place_chunks(request.call_chunks);
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
    say_line("done");
    say_end();
    leave_qemu(STATUS_DONE);
}

static int overlap(u64 start, u64 size, u64 other, u64 other_size)
{
    return start < other + other_size && other < start + size;
}

_Noreturn void testify(const struct request *asked, u8 *image_base, u64 image_size)
{
    __asm__ volatile("cli");
    request = *asked;
    if (image_size > request.kernel_room)
        give_up("no-room-for-the-witness", image_size);
    if (overlap((u64)image_base, image_size, request.kernel_pa, image_size))
        give_up("loaded-in-the-kernels-place", (u64)image_base);
    transit_enter(&request); /* the firmware's own table may lie where we are about to write */
    distance = request.kernel_va - request.kernel_pa;
    copy((u8 *)request.kernel_pa, image_base, image_size);
    u64 moved_by = request.kernel_va - (u64)image_base;
    __asm__ volatile("mov %0, %%rsp; xor %%ebp, %%ebp; jmp *%1"
                     :
                     : "r"((u64)stack + STACK_SIZE - 8 + moved_by), "r"((u64)at_the_kernels_place + moved_by)
                     : "memory");
    __builtin_unreachable();
}
