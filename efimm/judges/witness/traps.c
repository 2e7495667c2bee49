#include "traps.h"

#include "say.h"

struct trap trap;
void *trap_way_back[5];

void say_trap(void)
{
    say_number("vector", trap.vector);
    say_number("error", trap.error_code);
    say_number("cr2", trap.cr2);
    say_number("rip", trap.rip);
}
