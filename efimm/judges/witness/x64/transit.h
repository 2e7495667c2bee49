/*
 * The table in force between the firmware's and the kernel's: all memory at its own address, and the witness at the
 * kernel's.  While it is in force every other table can be put into memory.
 */
#ifndef TRANSIT_H
#define TRANSIT_H

#include "request.h"

/* Build it in this image and load it.  It is part of the image, so it is built again after a move. */
void transit_enter(const struct request *request);

/* Go back to it after another table was in force. */
void transit_again(void);

#endif
