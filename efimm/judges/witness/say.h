/* The answers: lines such as "witness: call status=0x0", which a program reads at the other end of the serial port. */
#ifndef SAY_H
#define SAY_H

#include "types.h"

void say_line(const char *topic);
void say_number(const char *key, u64 value);
void say_text(const char *key, const char *text);
void say_utf16(const char *key, const u16 *text);
void say_end(void);

/* One line with one number, and the end of everything: nothing that follows would be an answer. */
_Noreturn void give_up(const char *why, u64 number);

#endif
