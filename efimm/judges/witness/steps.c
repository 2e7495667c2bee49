#include "steps.h"

#include "cpu.h"
#include "fw_cfg.h"
#include "say.h"

#define STATUS_DONE 0x20

/* Firmware may use SSE, which the simulated kernel's CR4 knows nothing about (OSFXSR, OSXMMEXCPT). */
#define CR4_FOR_SSE 0x600u

enum { STACK_SIZE = 0x8000 };

struct request request;
static u8 stack[STACK_SIZE] __attribute__((aligned(16)));

static int overlap(u64 start, u64 other, u64 size) { return start < other + size && other < start + size; }

uintn steps_copy_image(u8 *image_base, u64 image_size)
{
    u8 *to = (u8 *)(uintn)request.kernel_pa;
    const u8 *from = image_base;
    uintn size = (uintn)image_size;
    if (image_size > request.kernel_room)
        give_up("no-room-for-the-witness", image_size);
    if (overlap((uintn)image_base, request.kernel_pa, image_size))
        give_up("loaded-in-the-kernels-place", (uintn)image_base);
    uintn distance = (uintn)to - (uintn)image_base;
    __asm__ volatile("cld; rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return distance;
}

void steps_go_on(void (*next)(void), uintn distance)
{
    uintn top = (uintn)stack + STACK_SIZE + distance;
    /* Nothing to return to; and the alignment that a function expects after the call that led to it. */
    __asm__ volatile("mov %0, %%" STACK_POINTER "; call *%1" : : "r"(top), "r"((uintn)next + distance) : "memory");
    __builtin_unreachable();
}

void steps_open_request(void)
{
    fw_cfg_open(REQUEST_FILE);
    fw_cfg_read(&request, sizeof request);
}

void steps_place_chunks(u64 count)
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

void steps_load_registers(void)
{
    write_msr(MSR_EFER, request.efer);
    write_cr4((uintn)request.cr4 | CR4_FOR_SSE);
    write_cr0((uintn)request.cr0);
}

void steps_finish(void)
{
    say_line("done");
    say_end();
    leave_qemu(STATUS_DONE);
}
