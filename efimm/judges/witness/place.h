/*
 * Where the witness is.  It starts where the firmware loaded it, and later runs where the kernel would have run: at the
 * kernel's physical address, and through the kernel's virtual one.
 */
#ifndef PLACE_H
#define PLACE_H

#include "types.h"

/* Virtual minus physical address of everything in this image. */
extern uintn distance;

static inline u64 physical(const void *address) { return (u64)((uintn)address - distance); }

#endif
