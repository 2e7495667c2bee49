"""The thread "phys_efi_set_virtual_address_map needs va, no pa." on linux-kernel, 20 to 22 June 2012, as claims.

Times are those of the archive.  What is only asked, planned or ordered is not here.
"""

from __future__ import annotations

from . import locks, maps, pointer
from .claim import Claim

ROBIN, MATTHEW, HPA, KONRAD = "Robin Holt", "Matthew Garrett", "H. Peter Anvin", "Konrad Rzeszutek Wilk"
_PATCH, _REPLY, _PLAN = "2012-06-20 08:25", "2012-06-20 12:07", "2012-06-20 20:42"
_TASK, _GIT, _MAPS = "2012-06-21 00:46", "2012-06-21 19:23", "2012-06-22 00:36"

CLAIMS = (
    Claim(
        "array-above",
        ROBIN,
        _PATCH,
        "The kernel allocated memmap may end up being beyond the first 512GB of memory.",
        "where 3.5 puts the array, by RAM size",
        pointer.array_may_lie_above,
    ),
    Claim(
        "early-range",
        ROBIN,
        _PATCH,
        "That early range is identity mapped, while the remainder of memory is not.",
        "what is mapped to itself when the firmware is entered",
        pointer.only_the_first_512_gib,
    ),
    Claim(
        "not-accessible",
        ROBIN,
        _PATCH,
        "[it] will not be accessible via its __pa as is currently passed back to EFI.",
        "the call with the array on either side of the line",
        pointer.not_accessible,
    ),
    Claim(
        "documentation",
        ROBIN,
        _PATCH,
        "I believe the EFI documentation is wrong.",
        "firmware of three kinds, given a va",
        pointer.documentation_is_wrong,
    ),
    Claim(
        "virtual-mode",
        ROBIN,
        _PATCH,
        "we are in virtual mode while EFI is handling the callback.",
        "whether paging is on during the call, and where the firmware's code runs",
        pointer.virtual_mode_during_the_call,
    ),
    Claim(
        "a-bug",
        MATTHEW,
        _REPLY,
        "all physical memory must have an identity mapping at this stage (section 2.3.4), so if we don't then "
        "that's a bug",
        "memory of the UEFI map that is not mapped to itself, and what becomes of the call",
        pointer.a_bug_to_be_fixed,
    ),
    Claim(
        "platform",
        HPA,
        _PLAN,
        "with the trampoline work in 3.4 we should finally have a proper platform to fix it.",
        "his plan on 3.5, at every size of RAM",
        maps.a_platform_to_fix_it,
    ),
    Claim(
        "32-bit-addressable",
        HPA,
        _PLAN,
        "it should be the one that is in the trampoline [...] as we need the page directory to be 32-bit addressable.",
        "a second processor, with that table below and above 4 GiB",
        maps.addressable_with_32_bits,
    ),
    Claim(
        "pae-shares",
        HPA,
        _PLAN,
        "PAE 32 bit don't need it, since all the kernel maps are shared.",
        "what is stale after a driver has mapped its device",
        maps.pae_needs_nothing,
    ),
    Claim(
        "ad-hoc",
        HPA,
        _PLAN,
        "This is currently done ad hoc (and differently!) on both 32 and 64 bits",
        "the kernel's entries in either table after boot",
        maps.done_ad_hoc,
    ),
    Claim(
        "usable",
        HPA,
        _PLAN,
        "Once that is properly fixed, we have a usable identity mapping.",
        "how much RAM his map covers at the call",
        maps.a_usable_identity_map,
    ),
    Claim(
        "offset",
        HPA,
        _PLAN,
        "the most likely sane thing to do is to use a fixed offset of 2^46 and still use a (pseudo-)1:1 map.",
        "a second kernel with that offset, after kexec",
        maps.an_offset_for_kexec,
    ),
    Claim(
        "walk-pgd-list",
        HPA,
        _TASK,
        "when we update the top level kernel address space we walk pgd_list and update them all",
        "a process's table after RAM and after a device was added",
        maps.all_on_the_list_are_updated,
    ),
    Claim(
        "user-half",
        HPA,
        _TASK,
        'we don\'t just need to maintain the kernel area, but the "user space" part of the address space should '
        "contain a copy, as well.",
        "his plan without the copy",
        maps.a_copy_in_the_user_half,
    ),
    Claim(
        "mm-lock-for-xen",
        HPA,
        _TASK,
        "there is code in there to grab an mm lock for the benefit of Xen.",
        "every order of steps without that lock",
        locks.an_mm_lock_for_xen,
    ),
    Claim(
        "unconditionally",
        HPA,
        _TASK,
        "and then grab a lock unconditionally, regardless of if we are affected by Xen or not.",
        "the locks taken on a machine without Xen",
        locks.taken_unconditionally,
    ),
    Claim(
        "irqs-off",
        f"{KONRAD}, quoting Andrea Arcangeli",
        _GIT,
        "It's forbidden to take the page_table_lock with the irq disabled or if there's contention the IPIs [...] "
        "will never run",
        "every order of steps, with interrupts off and on",
        locks.deadlock_with_irqs_off,
    ),
    Claim(
        "not-for-xen",
        KONRAD,
        _GIT,
        "I am not really convienced that lock was put there for Xen",
        "each of the two locks taken away, natively",
        locks.not_put_there_for_xen,
    ),
    Claim(
        "already-created",
        HPA,
        _MAPS,
        "The 1:1 map created for the kernel is created at a specific offset, __PAGE_OFFSET",
        "both ends of every piece of RAM at that offset",
        maps.already_created,
    ),
    Claim(
        "every-context",
        HPA,
        _MAPS,
        "and is propagated into every vm context created by the kernel.",
        "two processes after RAM was added",
        maps.in_every_context,
    ),
    Claim(
        "not-on-the-list",
        HPA,
        _MAPS,
        "[they] aren't on the list of vm contexts created by the kernel (pgd_list), so they never get updated",
        "trampoline_pgd after RAM was added",
        maps.not_on_the_list,
    ),
    Claim(
        "list-insufficient",
        HPA,
        _MAPS,
        "just adding it to the pgd_list is insufficient.",
        "a kernel that does just that",
        maps.the_list_is_not_enough,
    ),
    Claim(
        "pae-fixed",
        HPA,
        _MAPS,
        "i386-PAE is unaffected, simply because the contents of the top (3rd) level is always fixed.",
        "PAE's top-level entries before and after a new mapping",
        maps.pae_is_fixed,
    ),
)
