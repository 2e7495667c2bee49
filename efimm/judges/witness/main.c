/*
 * The witness: a UEFI application that puts a simulated kernel's page tables under real firmware, and tells what happens.
 *
 * QEMU hands over the request (request.h).  Without one, the witness tells the memory map and ends: the simulated kernel
 * is then booted with that map, so that its tables suit this very firmware.
 */
#include "cpu.h"
#include "firmware.h"
#include "fw_cfg.h"
#include "memmap.h"
#include "place.h"
#include "say.h"
#include "testimony.h"

#define STATUS_MAP_TOLD 0x30

uintn distance;

static const EFI_GUID loaded_image = {0x5B1B31A1, 0x9562, 0x11D2, {0x8E, 0x3F, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B}};

static EFI_LOADED_IMAGE_PROTOCOL *own_image(EFI_HANDLE image, EFI_BOOT_SERVICES *boot_services)
{
    void *found = 0;
    EFI_STATUS status = boot_services->handle_protocol(image, &loaded_image, &found);
    if (status != EFI_SUCCESS)
        give_up("HandleProtocol", status);
    return found;
}

/* Fill in `request`, and 1; 0 where there is none. */
static int read_request(struct request *request)
{
    if (!fw_cfg_open(REQUEST_FILE))
        return 0;
    fw_cfg_read(request, sizeof *request);
    if (request->magic != REQUEST_MAGIC)
        give_up("request-of-another-version", request->magic);
    return 1;
}

EFI_STATUS EFIAPI efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    struct request request;
    EFI_BOOT_SERVICES *boot_services = system_table->boot_services;
    EFI_LOADED_IMAGE_PROTOCOL *self = own_image(image, boot_services);
    int asked = read_request(&request);

    say_line("image");
    say_number("base", (uintn)self->image_base);
    say_number("size", self->image_size);
    say_number("word", sizeof(uintn));
    say_end();
    firmware_note(system_table);
    memmap_say(image, boot_services, asked);
    if (!asked)
        leave_qemu(STATUS_MAP_TOLD);
    testify(&request, self->image_base, self->image_size);
}
