/* Integers of known width, and UEFI's UINTN: as wide as a pointer.  There is no C library to take them from. */
#ifndef TYPES_H
#define TYPES_H

/* Every name is of this image: 32-bit code would otherwise look for what other files declare in a table of addresses. */
#pragma GCC visibility push(hidden)

typedef __UINT8_TYPE__ u8;
typedef __UINT16_TYPE__ u16;
typedef __INT16_TYPE__ i16;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;
typedef __UINTPTR_TYPE__ uintn;

#endif
