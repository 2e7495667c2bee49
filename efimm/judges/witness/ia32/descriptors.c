/* Descriptor tables of 32-bit protected mode (Intel SDM volume 3A, chapters 3 and 6), and what happens at an exception. */
#include "traps.h"

#include "cpu.h"

enum { VECTORS = 32, STUB_SIZE = 16 };
enum { CODE_SELECTOR = 0x10, DATA_SELECTOR = 0x18 };

#define CODE_SEGMENT 0x00CF9A000000FFFFull
#define DATA_SEGMENT 0x00CF92000000FFFFull
#define INTERRUPT_GATE 0x8Eull

/* The processor pushes the last three; the stubs add the vector, and a zero where it pushes no error code. */
struct frame {
    u32 vector, error_code, eip, cs, eflags;
};

struct __attribute__((packed)) table_register {
    u16 limit;
    uintn base;
};

static u64 gdt[4];
static u64 idt[VECTORS];

extern const u8 trap_stubs[]; /* stubs.S */

/* Called by the stubs.  No way back through IRET: the interrupted code is left where it is. */
_Noreturn void trap_taken(const struct frame *frame)
{
    trap.vector = frame->vector;
    trap.error_code = frame->error_code;
    trap.rip = frame->eip;
    trap.cr2 = read_cr2();
    __builtin_longjmp(trap_way_back, 1);
}

static void set_gate(u32 vector)
{
    u64 stub = (uintn)trap_stubs + vector * STUB_SIZE;
    idt[vector] = (stub & 0xFFFF) | (u64)CODE_SELECTOR << 16 | INTERRUPT_GATE << 40 | (stub >> 16) << 48;
}

static void load_gdt(void)
{
    gdt[CODE_SELECTOR / 8] = CODE_SEGMENT;
    gdt[DATA_SELECTOR / 8] = DATA_SEGMENT;
    struct table_register pointer = {sizeof gdt - 1, (uintn)gdt};
    __asm__ volatile("lgdt %0\n\t"
                     "mov %1, %%ds; mov %1, %%es; mov %1, %%ss; mov %1, %%fs; mov %1, %%gs\n\t"
                     "pushl %2; call 1f\n" /* a far return loads CS; the call tells where we are */
                     "1: addl $2f - 1b, (%%esp); lretl\n"
                     "2:"
                     :
                     : "m"(pointer), "r"(DATA_SELECTOR), "i"(CODE_SELECTOR)
                     : "memory");
}

void traps_install(void)
{
    load_gdt();
    for (u32 vector = 0; vector < VECTORS; vector++)
        set_gate(vector);
    struct table_register pointer = {sizeof idt - 1, (uintn)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}
