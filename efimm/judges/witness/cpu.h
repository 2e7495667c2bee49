/* The instructions that C has no words for: ports, control registers, model-specific registers. */
#ifndef CPU_H
#define CPU_H

#include "types.h"

/* "memory": a port may start a device that reads and writes our variables. */
static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
static inline void outl(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

static inline u8 inb(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* "memory": what was stored before must be in memory before the register changes, and be read again afterwards. */
#define CONTROL_REGISTER(name)                                                              \
    static inline uintn read_##name(void)                                                   \
    {                                                                                       \
        uintn value;                                                                        \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory");                 \
        return value;                                                                       \
    }                                                                                       \
    static inline void write_##name(uintn value) { __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory"); }

CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)

#ifdef __x86_64__
#define STACK_POINTER "rsp"
#else
#define STACK_POINTER "esp"
#endif

#define MSR_EFER 0xC0000080u

static inline void write_msr(u32 msr, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* Tell QEMU to end with exit status 2 * code + 1 (its device isa-debug-exit). */
#define ISA_DEBUG_EXIT 0xF4

static inline _Noreturn void leave_qemu(u32 code)
{
    outl(ISA_DEBUG_EXIT, code);
    for (;;)
        __asm__ volatile("cli; hlt");
}

#endif
