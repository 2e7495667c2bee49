#include "memmap.h"

#include "say.h"

enum { MAP_ROOM = 0x10000, ATTEMPTS = 4 };

static u8 map[MAP_ROOM] __attribute__((aligned(16)));
static uintn map_size, map_key, descriptor_size;
static u32 descriptor_version;

static void get(EFI_BOOT_SERVICES *boot_services)
{
    map_size = sizeof map;
    EFI_STATUS status =
        boot_services->get_memory_map(&map_size, map, &map_key, &descriptor_size, &descriptor_version);
    if (status != EFI_SUCCESS)
        give_up("GetMemoryMap", status);
}

static void say_all(void)
{
    say_line("map");
    say_number("size", map_size);
    say_number("descriptor_size", descriptor_size);
    say_number("descriptor_version", descriptor_version);
    say_end();
    for (uintn place = 0; place < map_size; place += descriptor_size) {
        const EFI_MEMORY_DESCRIPTOR *region = (const EFI_MEMORY_DESCRIPTOR *)(map + place);
        say_line("region");
        say_number("type", region->type);
        say_number("start", region->physical_start);
        say_number("pages", region->number_of_pages);
        say_number("attribute", region->attribute);
        say_end();
    }
}

/* The key is stale as soon as the map changes, which the first attempt may itself cause (UEFI 2.10, 7.4.6). */
void memmap_say(EFI_HANDLE image, EFI_BOOT_SERVICES *boot_services, int leave)
{
    EFI_STATUS status = EFI_SUCCESS;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        get(boot_services);
        if (leave)
            status = boot_services->exit_boot_services(image, map_key);
        if (status == EFI_SUCCESS) {
            say_all();
            return;
        }
    }
    give_up("ExitBootServices", status);
}
