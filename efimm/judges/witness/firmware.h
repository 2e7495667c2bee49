/* The firmware's runtime part, called and looked at. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include "request.h"
#include "uefi.h"

/* Note where the tables are, and say so. */
void firmware_note(EFI_SYSTEM_TABLE *system_table);

/* Call SetVirtualAddressMap as the request says, and say its status or the exception, on a line `topic`. */
void firmware_switch(const char *topic, const struct request *request);

/* Say which pointers of the two tables differ from those at firmware_note(); all memory must be at its own address. */
void firmware_say_moved(void);

/* Call GetTime, GetVariable and SetVariable by way of the system table at virtual address `system_table`. */
void firmware_use(uintn system_table);

#endif
