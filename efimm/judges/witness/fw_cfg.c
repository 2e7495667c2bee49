/*
 * The device's DMA interface.  It takes physical addresses, so it fills memory that no page table maps: that is how
 * tables get to their places while none of them is in force.
 *
 * Source: QEMU, docs/specs/fw_cfg.rst.  All numbers are big-endian.
 */
#include "fw_cfg.h"

#include "cpu.h"
#include "place.h"
#include "say.h"

#define DMA_ADDRESS_HIGH 0x514
#define DMA_ADDRESS_LOW 0x518
#define FILE_DIRECTORY 0x19u

enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SELECT = 8 };

struct dma_access {
    u32 control, length;
    u64 address;
};

struct directory_entry {
    u32 size;
    u16 select, reserved;
    char name[56];
};

static void transfer(u32 control, u64 pa, u32 length)
{
    volatile struct dma_access access = {
        __builtin_bswap32(control),
        __builtin_bswap32(length),
        __builtin_bswap64(pa),
    };
    u64 place = physical((const void *)(uintn)&access);
    outl(DMA_ADDRESS_HIGH, __builtin_bswap32((u32)(place >> 32)));
    outl(DMA_ADDRESS_LOW, __builtin_bswap32((u32)place));
    while (__builtin_bswap32(access.control) & ~(u32)DMA_ERROR)
        ;
    if (access.control)
        give_up("fw_cfg-error", control);
}

static int equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

void fw_cfg_read_to(u64 pa, u32 size) { transfer(DMA_READ, pa, size); }

void fw_cfg_read(void *where, u32 size) { transfer(DMA_READ, physical(where), size); }

u32 fw_cfg_open(const char *name)
{
    u32 count;
    transfer(FILE_DIRECTORY << 16 | DMA_SELECT, 0, 0);
    fw_cfg_read(&count, sizeof count);
    for (count = __builtin_bswap32(count); count; count--) {
        struct directory_entry entry;
        fw_cfg_read(&entry, sizeof entry);
        if (!equal(entry.name, name))
            continue;
        transfer((u32)__builtin_bswap16(entry.select) << 16 | DMA_SELECT, 0, 0);
        return __builtin_bswap32(entry.size);
    }
    return 0;
}
