/* From the end of boot services to the last answer; one way for long mode and one for protected mode. */
#ifndef TESTIMONY_H
#define TESTIMONY_H

#include "request.h"

_Noreturn void testify(const struct request *request, u8 *image_base, u64 image_size);

#endif
