/* Probes: what the processor finds at an address, tried by reading, writing and executing there. */
#ifndef PROBE_H
#define PROBE_H

#include "types.h"

enum { MOST_PROBES = 24576 };

/* What is done with the word at physical address `pa` beforehand, and so how it is known again afterwards. */
enum probe_means {
    BY_FAULT,    /* nothing is expected to be there */
    BY_TAG,      /* free memory: the word is replaced by one that tells its own address */
    BY_CONTENT,  /* memory in use: the word is remembered */
    BY_PRESENCE, /* a device or a hole: reading must not fault, and that is all */
};

struct probe {
    u64 va, pa, means;
};

void probes_read(u64 count);   /* from fw_cfg */
void probes_prepare(void);     /* with all memory at its own address */
void probes_try_and_say(void); /* with the table in question in force */

#endif
