#include "transit.h"

#include "cpu.h"
#include "place.h"
#include "say.h"

enum { ENTRIES = 512, SLOT_SHIFT = 39, GIB_SHIFT = 30, MIB2_SHIFT = 21, MOST_SLOTS = 128 }; /* 128 * 512 GiB = 64 TiB */
enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };

static u64 top[ENTRIES] __attribute__((aligned(4096)));
static u64 lower[MOST_SLOTS][ENTRIES] __attribute__((aligned(4096)));
static u64 kernel[ENTRIES] __attribute__((aligned(4096)));
static u64 kernel_text[ENTRIES] __attribute__((aligned(4096)));

static u64 index_of(u64 va, int shift) { return va >> shift & (ENTRIES - 1); }
static u64 large_page(u64 pa) { return pa | LARGE | PRESENT_WRITABLE; }

/* By pages of 2 MiB: a kernel that was moved (phys_base) lies at other places in a GiB of va and in one of pa. */
static void map_kernel(u64 va, u64 pa)
{
    if ((va | pa) & ((1ull << MIB2_SHIFT) - 1))
        give_up("kernel-not-aligned", va);
    for (u64 index = index_of(va, MIB2_SHIFT); index < ENTRIES; index++, pa += 1ull << MIB2_SHIFT)
        kernel_text[index] = large_page(pa);
    kernel[index_of(va, GIB_SHIFT)] = physical(kernel_text) | PRESENT_WRITABLE;
    top[index_of(va, SLOT_SHIFT)] = physical(kernel) | PRESENT_WRITABLE;
}

void transit_enter(const struct request *request)
{
    u64 slots = (request->highest + (1ull << SLOT_SHIFT) - 1) >> SLOT_SHIFT;
    if (slots > MOST_SLOTS)
        give_up("too-much-memory", request->highest);
    for (u64 slot = 0; slot < slots; slot++) {
        for (u64 index = 0; index < ENTRIES; index++)
            lower[slot][index] = large_page(slot << SLOT_SHIFT | index << GIB_SHIFT);
        top[slot] = physical(lower[slot]) | PRESENT_WRITABLE;
    }
    map_kernel(request->kernel_va, request->kernel_pa);
    transit_again();
}

void transit_again(void) { write_cr3(physical(top)); }
