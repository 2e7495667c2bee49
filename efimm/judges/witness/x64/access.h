/* One access each, in a function of its own: to the compiler only a call can come back elsewhere (traps.h). */
#ifndef ACCESS_H
#define ACCESS_H

#include "types.h"

u64 access_read(u64 va);
void access_write(u64 va, u64 word);
void access_call(u64 va);

#endif
