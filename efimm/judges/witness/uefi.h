/*
 * The part of the UEFI specification that the witness needs, declared by us; unused members are `void *`.
 *
 * Source: UEFI specification 2.10: 4.2 (EFI_TABLE_HEADER), 4.3 (EFI_SYSTEM_TABLE), 4.4 (EFI_BOOT_SERVICES), 4.5
 * (EFI_RUNTIME_SERVICES), 7.2 (GetMemoryMap), 8.2 to 8.4 (variables, time, virtual memory), 9.1 (loaded image).
 * UINTN is as wide as a pointer, so one set of declarations serves 64-bit and 32-bit firmware.
 */
#ifndef UEFI_H
#define UEFI_H

#include "types.h"

typedef uintn EFI_STATUS;
typedef void *EFI_HANDLE;

/* UEFI calls by Microsoft's convention on x86-64 and by the common one on IA-32 (2.3.2 and 2.3.4). */
#ifdef __x86_64__
#define EFIAPI __attribute__((ms_abi))
#else
#define EFIAPI __attribute__((cdecl))
#endif

#define EFI_SUCCESS ((EFI_STATUS)0)

typedef struct {
    u32 data1;
    u16 data2, data3;
    u8 data4[8];
} EFI_GUID;

typedef struct {
    u64 signature;
    u32 revision, header_size, crc32, reserved;
} EFI_TABLE_HEADER;

/* Step by DescriptorSize and never by sizeof: firmware may report a larger one. */
typedef struct {
    u32 type, pad;
    u64 physical_start, virtual_start, number_of_pages, attribute;
} EFI_MEMORY_DESCRIPTOR;

typedef struct {
    u16 year;
    u8 month, day, hour, minute, second, pad1;
    u32 nanosecond;
    i16 time_zone;
    u8 daylight, pad2;
} EFI_TIME;

typedef EFI_STATUS(EFIAPI *EFI_GET_TIME)(EFI_TIME *time, void *capabilities);
typedef EFI_STATUS(EFIAPI *EFI_SET_VIRTUAL_ADDRESS_MAP)(uintn map_size, uintn descriptor_size, u32 descriptor_version,
                                                       void *virtual_map);
typedef EFI_STATUS(EFIAPI *EFI_GET_VARIABLE)(const u16 *name, const EFI_GUID *vendor, u32 *attributes, uintn *size,
                                            void *data);
typedef EFI_STATUS(EFIAPI *EFI_SET_VARIABLE)(const u16 *name, const EFI_GUID *vendor, u32 attributes, uintn size,
                                            const void *data);

#define RUNTIME_SERVICES 14

/* The members as an array too: whether each pointer moved is one loop. */
typedef struct {
    EFI_TABLE_HEADER header;
    union {
        uintn service[RUNTIME_SERVICES];
        struct {
            EFI_GET_TIME get_time;
            void *set_time, *get_wakeup_time, *set_wakeup_time;
            EFI_SET_VIRTUAL_ADDRESS_MAP set_virtual_address_map;
            void *convert_pointer;
            EFI_GET_VARIABLE get_variable;
            void *get_next_variable_name;
            EFI_SET_VARIABLE set_variable;
            void *get_next_high_monotonic_count, *reset_system, *update_capsule, *query_capsule_capabilities;
            void *query_variable_info;
        };
    };
} EFI_RUNTIME_SERVICES;

typedef EFI_STATUS(EFIAPI *EFI_GET_MEMORY_MAP)(uintn *size, void *map, uintn *key, uintn *descriptor_size,
                                              u32 *descriptor_version);
typedef EFI_STATUS(EFIAPI *EFI_HANDLE_PROTOCOL)(EFI_HANDLE handle, const EFI_GUID *protocol, void **interface);
typedef EFI_STATUS(EFIAPI *EFI_EXIT_BOOT_SERVICES)(EFI_HANDLE image, uintn key);

typedef struct {
    EFI_TABLE_HEADER header;
    void *raise_tpl, *restore_tpl, *allocate_pages, *free_pages;
    EFI_GET_MEMORY_MAP get_memory_map;
    void *allocate_pool, *free_pool;
    void *create_event, *set_timer, *wait_for_event, *signal_event, *close_event, *check_event;
    void *install_protocol_interface, *reinstall_protocol_interface, *uninstall_protocol_interface;
    EFI_HANDLE_PROTOCOL handle_protocol;
    void *reserved, *register_protocol_notify, *locate_handle, *locate_device_path, *install_configuration_table;
    void *load_image, *start_image, *exit, *unload_image;
    EFI_EXIT_BOOT_SERVICES exit_boot_services;
} EFI_BOOT_SERVICES;

typedef struct {
    EFI_TABLE_HEADER header;
    u16 *firmware_vendor;
    u32 firmware_revision;
    EFI_HANDLE console_in_handle;
    void *con_in;
    EFI_HANDLE console_out_handle;
    void *con_out;
    EFI_HANDLE standard_error_handle;
    void *std_err;
    EFI_RUNTIME_SERVICES *runtime_services;
    EFI_BOOT_SERVICES *boot_services;
    uintn number_of_table_entries;
    void *configuration_table;
} EFI_SYSTEM_TABLE;

typedef struct {
    u32 revision;
    EFI_HANDLE parent_handle;
    EFI_SYSTEM_TABLE *system_table;
    EFI_HANDLE device_handle;
    void *file_path, *reserved;
    u32 load_options_size;
    void *load_options;
    u8 *image_base;
    u64 image_size;
} EFI_LOADED_IMAGE_PROTOCOL;

#endif
