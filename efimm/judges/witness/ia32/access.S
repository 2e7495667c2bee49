/* The accesses of access.h, by the common 32-bit calling convention; the lower half of a word comes first. */
    .section .text
    .globl access_read, access_write, access_call

access_read:
    movl 4(%esp), %ecx
    movl (%ecx), %eax
    movl 4(%ecx), %edx
    ret

access_write:
    movl 4(%esp), %ecx
    movl 8(%esp), %eax
    movl 12(%esp), %edx
    movl %eax, (%ecx)
    movl %edx, 4(%ecx)
    ret

access_call:
    jmp *4(%esp)

    .section .note.GNU-stack, "", @progbits
