#include "transit.h"

#include "cpu.h"
#include "place.h"
#include "say.h"

enum { ENTRIES = 512, SLOT_SHIFT = 39, GIB_SHIFT = 30, MOST_SLOTS = 128 }; /* 128 * 512 GiB = 64 TiB */
enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };

static u64 top[ENTRIES] __attribute__((aligned(4096)));
static u64 lower[MOST_SLOTS][ENTRIES] __attribute__((aligned(4096)));
static u64 kernel[ENTRIES] __attribute__((aligned(4096)));

static u64 gib_page(u64 pa) { return (pa >> GIB_SHIFT << GIB_SHIFT) | LARGE | PRESENT_WRITABLE; }

void transit_enter(const struct request *request)
{
    u64 slots = (request->highest + (1ull << SLOT_SHIFT) - 1) >> SLOT_SHIFT;
    if (slots > MOST_SLOTS)
        give_up("too-much-memory", request->highest);
    if ((request->kernel_va ^ request->kernel_pa) & ((1ull << GIB_SHIFT) - 1))
        give_up("kernel-not-aligned", request->kernel_va);
    for (u64 slot = 0; slot < slots; slot++) {
        for (u64 index = 0; index < ENTRIES; index++)
            lower[slot][index] = gib_page(slot << SLOT_SHIFT | index << GIB_SHIFT);
        top[slot] = physical(lower[slot]) | PRESENT_WRITABLE;
    }
    kernel[request->kernel_va >> GIB_SHIFT & (ENTRIES - 1)] = gib_page(request->kernel_pa);
    top[request->kernel_va >> SLOT_SHIFT & (ENTRIES - 1)] = physical(kernel) | PRESENT_WRITABLE;
    transit_again();
}

void transit_again(void) { write_cr3(physical(top)); }
