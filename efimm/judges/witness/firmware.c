#include "firmware.h"

#include "say.h"
#include "traps.h"

/* Non-volatile, for boot services and runtime: a volatile variable cannot be made at runtime (UEFI 2.10, 8.2). */
#define ATTRIBUTES 7u

static EFI_SYSTEM_TABLE *system_table;
static EFI_RUNTIME_SERVICES *runtime_services;
static EFI_RUNTIME_SERVICES before;
static EFI_SYSTEM_TABLE system_before;

static const EFI_GUID global_variable = {0x8BE4DF61, 0x93CA, 0x11D2, {0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C}};
/* A vendor of our own: firmware refuses names it does not know under the global GUID. */
static const EFI_GUID our_vendor = {0x6D6D6965, 0x6A75, 0x6467, {0x80, 0x65, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01}};

void firmware_note(EFI_SYSTEM_TABLE *table)
{
    system_table = table;
    runtime_services = table->runtime_services;
    before = *runtime_services;
    system_before = *table;
    say_line("firmware");
    say_utf16("vendor", table->firmware_vendor);
    say_number("revision", table->firmware_revision);
    say_number("system_table", (uintn)table);
    say_number("runtime_services", (uintn)runtime_services);
    say_number("SetVirtualAddressMap", (uintn)runtime_services->set_virtual_address_map);
    say_end();
}

void firmware_switch(const char *topic, const struct request *request)
{
    if (!request->map_size)
        return;
    say_line(topic);
    if (TRAPPED()) {
        say_trap();
    } else {
        /* The address from before the switch, whatever the table may hold by now, as Linux does. */
        EFI_STATUS status =
            before.set_virtual_address_map((uintn)request->map_size, (uintn)request->descriptor_size,
                                           (u32)request->descriptor_version, (void *)(uintn)request->pointer);
        say_number("status", status);
    }
    say_end();
}

static void say_pointer(const char *table, u64 number, uintn was, uintn is)
{
    say_line("pointer");
    say_text("table", table);
    say_number("number", number);
    say_number("before", was);
    say_number("after", is);
    say_end();
}

void firmware_say_moved(void)
{
    for (int i = 0; i < RUNTIME_SERVICES; i++)
        say_pointer("runtime", (u64)i, before.service[i], runtime_services->service[i]);
    say_pointer("system", 0, (uintn)system_before.firmware_vendor, (uintn)system_table->firmware_vendor);
    say_pointer("system", 1, (uintn)system_before.runtime_services, (uintn)system_table->runtime_services);
    say_pointer("system", 2, (uintn)system_before.configuration_table, (uintn)system_table->configuration_table);
}

static void get_time(const EFI_RUNTIME_SERVICES *services)
{
    EFI_TIME time = {0};
    say_number("status", services->get_time(&time, 0));
    say_number("year", time.year);
}

static void get_variable(const EFI_RUNTIME_SERVICES *services)
{
    static const u16 name[] = {'P', 'l', 'a', 't', 'f', 'o', 'r', 'm', 'L', 'a', 'n', 'g', 0};
    char value[16] = {0};
    uintn size = sizeof value - 1;
    say_number("status", services->get_variable(name, &global_variable, 0, &size, value));
    say_text("value", value);
}

static void set_variable(const EFI_RUNTIME_SERVICES *services)
{
    static const u16 name[] = {'W', 'i', 't', 'n', 'e', 's', 's', 0};
    u32 written = 0x5EED, back = 0;
    uintn size = sizeof back;
    say_number("status", services->set_variable(name, &our_vendor, ATTRIBUTES, sizeof written, &written));
    say_number("read_status", services->get_variable(name, &our_vendor, 0, &size, &back));
    say_number("same", back == written);
}

static void attempt(const char *service, void (*call)(const EFI_RUNTIME_SERVICES *), uintn table)
{
    say_line("service");
    say_text("name", service);
    if (TRAPPED())
        say_trap();
    else
        call(((const EFI_SYSTEM_TABLE *)table)->runtime_services);
    say_end();
}

void firmware_use(uintn table)
{
    attempt("GetTime", get_time, table);
    attempt("GetVariable", get_variable, table);
    attempt("SetVariable", set_variable, table);
}
