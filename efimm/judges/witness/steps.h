/* Steps that the testimony takes in either mode. */
#ifndef STEPS_H
#define STEPS_H

#include "request.h"

extern struct request request;

/* Copy this image to the kernel's place, which must be free of it; the distance from here to the copy. */
uintn steps_copy_image(u8 *image_base, u64 image_size);

/* Go on at `next` in an image that lies `distance` further, on its own stack. */
_Noreturn void steps_go_on(void (*next)(void), uintn distance);

/* Read the request's header again, to get behind it. */
void steps_open_request(void);

/* Store the next `count` chunks of the request where they say. */
void steps_place_chunks(u64 count);

/* Load EFER, CR4 and CR0 as the simulated kernel had them. */
void steps_load_registers(void);

/* The last answer. */
_Noreturn void steps_finish(void);

#endif
