/* One access each, in a function of its own: to the compiler only a call can come back elsewhere (traps.h). */
#ifndef ACCESS_H
#define ACCESS_H

#include "types.h"

u64 access_read(uintn va);
void access_write(uintn va, u64 word);
void access_call(uintn va);

#endif
