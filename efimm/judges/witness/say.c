#include "say.h"

#include "cpu.h"

/* The first serial port (a 16550).  The firmware has set it up, and does not use it after ExitBootServices. */
#define COM1 0x3F8
#define LINE_STATUS (COM1 + 5)
#define TRANSMITTER_EMPTY 0x20
#define STATUS_GAVE_UP 0x31

static void put(char character)
{
    while (!(inb(LINE_STATUS) & TRANSMITTER_EMPTY))
        ;
    outb(COM1, (u8)character);
}

static void put_all(const char *text)
{
    while (*text)
        put(*text++);
}

static void put_key(const char *key)
{
    put(' ');
    put_all(key);
    put('=');
}

/* The firmware's console shares the port: a line of ours begins on a line of its own. */
void say_line(const char *topic)
{
    put_all("\nwitness: ");
    put_all(topic);
}

void say_number(const char *key, u64 value)
{
    put_key(key);
    put_all("0x");
    int shift = 60;
    while (shift && !(value >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
}

void say_text(const char *key, const char *text)
{
    put_key(key);
    put_all(text);
}

/* Blanks would end the value, and the reader expects ASCII. */
void say_utf16(const char *key, const u16 *text)
{
    put_key(key);
    for (; *text; text++)
        put(*text > ' ' && *text < 0x7F ? (char)*text : '_');
}

void say_end(void) { put('\n'); }

void give_up(const char *why, u64 number)
{
    say_line("gave-up");
    say_text("why", why);
    say_number("number", number);
    say_end();
    leave_qemu(STATUS_GAVE_UP);
}
