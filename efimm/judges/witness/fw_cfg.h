/* QEMU's fw_cfg device: how the request comes in, before ExitBootServices and after it. */
#ifndef FW_CFG_H
#define FW_CFG_H

#include "types.h"

/* Start reading the file `name` from its beginning: its size in bytes, 0 where QEMU was given no such file. */
u32 fw_cfg_open(const char *name);

/* The next `size` bytes of the open file, stored by the device itself at physical address `pa`. */
void fw_cfg_read_to(u64 pa, u32 size);

/* The same, to a variable of ours. */
void fw_cfg_read(void *where, u32 size);

#endif
