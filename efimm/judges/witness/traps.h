/*
 * Exceptions as answers: code that may fault runs behind TRAPPED(), which is 0 at first and 1 when it comes back there
 * because of an exception; `trap` then says which.
 *
 *     if (TRAPPED())
 *         ... the exception is in `trap` ...
 *     else
 *         ... what may fault ...
 */
#ifndef TRAPS_H
#define TRAPS_H

#include "types.h"

#define PAGE_FAULT 14

struct trap {
    u64 vector, error_code, cr2, rip;
};

extern struct trap trap;
extern void *trap_way_back[5];

#define TRAPPED() __builtin_setjmp(trap_way_back)

/* Load a GDT and an IDT of our own: the firmware's are gone with its memory.  They hold addresses as they are now. */
void traps_install(void);

/* "vector=... error=... cr2=... rip=..." of the last exception, in the current line. */
void say_trap(void);

#endif
