/* The firmware's memory map: told line by line, and the last one used to leave boot services. */
#ifndef MEMMAP_H
#define MEMMAP_H

#include "uefi.h"

/* Say the map, and leave boot services where `leave` is set: no boot service may be called after that. */
void memmap_say(EFI_HANDLE image, EFI_BOOT_SERVICES *boot_services, int leave);

#endif
