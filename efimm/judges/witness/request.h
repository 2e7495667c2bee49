/*
 * What is asked, as the fw_cfg file holds it (efimm/judges/request.py writes it): this header, then `call_chunks` chunks
 * (struct chunk and its bytes), then the probes, then `after_chunks` chunks.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include "types.h"

#define REQUEST_FILE "opt/org.efimm/request"
#define REQUEST_MAGIC 0x31305145524D4645ull /* "EFMREQ01" */

struct request {
    u64 magic;
    u64 kernel_va, kernel_pa, kernel_room; /* where the kernel, and now the witness, lives */
    u64 highest;                           /* no physical address that we touch lies at or above */
    u64 cr0, cr4, efer;
    u64 call_cr3;                                               /* the table in force during the call */
    u64 pointer, map_size, descriptor_size, descriptor_version; /* for SetVirtualAddressMap; map_size 0: not called */
    u64 call_chunks, probes;
    u64 after_cr3, system_table_va; /* for the calls after the switch; after_cr3 is 0 where there are none */
    u64 after_chunks;
};

/* `size` bytes follow, to be stored at physical address `pa`: page tables, and the descriptor array. */
struct chunk {
    u64 pa, size;
};

#endif
