/* Descriptor tables of 64-bit mode (Intel SDM volume 3A, chapters 3, 6 and 8), and what happens at an exception. */
#include "traps.h"

#include "cpu.h"

enum { VECTORS = 32, STUB_SIZE = 16 };
enum { CODE_SELECTOR = 0x10, DATA_SELECTOR = 0x18, TSS_SELECTOR = 0x20 }; /* the first two as in Linux */

#define CODE_SEGMENT 0x00AF9A000000FFFFull
#define DATA_SEGMENT 0x00CF92000000FFFFull
#define TSS_TYPE 0x89ull
#define INTERRUPT_GATE 0x8Eull

/* The processor pushes the last five; the stubs add the vector, and a zero where it pushes no error code. */
struct frame {
    u64 vector, error_code, rip, cs, rflags, rsp, ss;
};

struct __attribute__((packed)) table_register {
    u16 limit;
    uintn base;
};

struct __attribute__((packed)) task_state {
    u32 reserved;
    u64 rsp[3], reserved2, ist[7], reserved3;
    u16 reserved4, io_map_base;
};

static u64 gdt[6];
static u64 idt[VECTORS][2];
static struct task_state tss;
static u8 trap_stack[0x2000] __attribute__((aligned(16)));

extern const u8 trap_stubs[]; /* stubs.S */

/* Called by the stubs.  No way back through IRET: the interrupted code is left where it is. */
_Noreturn void trap_taken(const struct frame *frame)
{
    trap.vector = frame->vector;
    trap.error_code = frame->error_code;
    trap.rip = frame->rip;
    trap.cr2 = read_cr2();
    __builtin_longjmp(trap_way_back, 1);
}

static void set_gate(int vector)
{
    u64 stub = (u64)(trap_stubs + vector * STUB_SIZE);
    /* 1 << 32: the first stack of the TSS, since the firmware's own stack pointer may be the trouble */
    idt[vector][0] = (stub & 0xFFFF) | CODE_SELECTOR << 16 | 1ull << 32 | INTERRUPT_GATE << 40 | (stub >> 16 & 0xFFFF) << 48;
    idt[vector][1] = stub >> 32;
}

static void load_gdt(void)
{
    u64 base = (u64)&tss;
    gdt[CODE_SELECTOR / 8] = CODE_SEGMENT;
    gdt[DATA_SELECTOR / 8] = DATA_SEGMENT;
    gdt[TSS_SELECTOR / 8] = (sizeof tss - 1) | (base & 0xFFFFFF) << 16 | TSS_TYPE << 40 | (base >> 24 & 0xFF) << 56;
    gdt[TSS_SELECTOR / 8 + 1] = base >> 32;
    struct table_register pointer = {sizeof gdt - 1, (uintn)gdt};
    __asm__ volatile("lgdt %0\n\t"
                     "mov %1, %%ds; mov %1, %%es; mov %1, %%ss; mov %1, %%fs; mov %1, %%gs\n\t"
                     "pushq %2; leaq 1f(%%rip), %%rax; pushq %%rax; lretq\n" /* a far return loads CS */
                     "1:"
                     :
                     : "m"(pointer), "r"(DATA_SELECTOR), "i"(CODE_SELECTOR)
                     : "rax", "memory");
}

void traps_install(void)
{
    tss.ist[0] = (u64)(trap_stack + sizeof trap_stack);
    tss.io_map_base = sizeof tss;
    load_gdt();
    for (int vector = 0; vector < VECTORS; vector++)
        set_gate(vector);
    struct table_register pointer = {sizeof idt - 1, (uintn)idt};
    __asm__ volatile("lidt %0; ltr %w1" : : "m"(pointer), "r"(TSS_SELECTOR) : "memory");
}
