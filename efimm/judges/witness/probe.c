#include "probe.h"

#include "access.h"
#include "fw_cfg.h"
#include "say.h"
#include "traps.h"

/* A tag: a mark, the address of the word, and RET as the first byte in memory, so that the word can be called. */
#define TAG_MARK 0xE000000000000000ull
#define TAG_RET 0xC3
#define TAG(pa) (TAG_MARK | (pa) << 8 | TAG_RET)
#define TAG_ADDRESS(word) ((word) << 4 >> 12)

enum { FINE, FAULTED = 0x10000, NOT_TRIED = 0x20000 };

/* Neighbours with equal findings share a line. */
struct finding {
    u64 read, write, fetch; /* FINE, NOT_TRIED, or FAULTED | vector << 8 ... see outcome_of_trap() */
    u64 seen;               /* 0 nothing, 1 a tag, 2 the remembered word, 3 another word */
    u64 offset;             /* with a tag: physical minus virtual address */
    u64 cr2_offset;         /* with a page fault: CR2 minus the address that was used */
};

enum { SEEN_NOTHING, SEEN_TAG, SEEN_SAME, SEEN_OTHER };

static struct probe probes[MOST_PROBES];
static u64 count;

void probes_read(u64 number)
{
    if (number > MOST_PROBES)
        give_up("too-many-probes", number);
    count = number;
    fw_cfg_read(probes, (u32)(count * sizeof probes[0]));
}

void probes_prepare(void)
{
    for (u64 i = 0; i < count; i++) {
        volatile u64 *word = (volatile u64 *)(uintn)probes[i].pa;
        if (probes[i].means == BY_TAG)
            *word = TAG(probes[i].pa);
        else if (probes[i].means == BY_CONTENT)
            probes[i].pa = *word; /* the place has served its purpose; the word takes its room */
    }
}

static u64 outcome_of_trap(struct finding *found, u64 va)
{
    if (trap.vector == PAGE_FAULT)
        found->cr2_offset = trap.cr2 - va;
    return FAULTED | trap.vector << 8 | (trap.error_code & 0xFF);
}

static u64 read_word(u64 va, u64 *word, struct finding *found)
{
    if (TRAPPED())
        return outcome_of_trap(found, va);
    *word = access_read((uintn)va);
    return FINE;
}

static u64 write_word(u64 va, u64 word, struct finding *found)
{
    if (TRAPPED())
        return outcome_of_trap(found, va);
    access_write((uintn)va, word);
    return FINE;
}

static u64 call_word(u64 va, struct finding *found)
{
    if (TRAPPED())
        return outcome_of_trap(found, va);
    access_call((uintn)va);
    return FINE;
}

/* Only a tag may be written and called: anything else is a device, or somebody's memory. */
static struct finding try(const struct probe *probe)
{
    struct finding found = {FINE, NOT_TRIED, NOT_TRIED, SEEN_NOTHING, 0, 0};
    u64 word = 0;
    found.read = read_word(probe->va, &word, &found);
    int tagged = !found.read && word == TAG(TAG_ADDRESS(word));
    if (tagged) {
        found.seen = SEEN_TAG;
        found.offset = TAG_ADDRESS(word) - probe->va;
    } else if (!found.read && probe->means != BY_PRESENCE) {
        found.seen = probe->means == BY_CONTENT && word == probe->pa ? SEEN_SAME : SEEN_OTHER;
    }
    if (tagged || found.read) {
        found.write = write_word(probe->va, word, &found);
        found.fetch = call_word(probe->va, &found);
    }
    return found;
}

static int alike(const struct finding *a, const struct finding *b)
{
    return a->read == b->read && a->write == b->write && a->fetch == b->fetch && a->seen == b->seen &&
           a->offset == b->offset && a->cr2_offset == b->cr2_offset;
}

static void say_run(u64 number, const struct finding *found)
{
    say_line("probes");
    say_number("count", number);
    say_number("read", found->read);
    say_number("write", found->write);
    say_number("fetch", found->fetch);
    say_number("seen", found->seen);
    say_number("offset", found->offset);
    say_number("cr2", found->cr2_offset);
    say_end();
}

void probes_try_and_say(void)
{
    struct finding run = {0};
    u64 length = 0;
    for (u64 i = 0; i < count; i++) {
        struct finding found = try(&probes[i]);
        if (length && !alike(&found, &run)) {
            say_run(length, &run);
            length = 0;
        }
        run = found;
        length++;
    }
    if (length)
        say_run(length, &run);
}
