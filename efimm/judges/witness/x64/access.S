/* The accesses of access.h, by the System V calling convention: rdi is the address, rsi the word. */
    .section .text
    .globl access_read, access_write, access_call

access_read:
    movq (%rdi), %rax
    ret

access_write:
    movq %rsi, (%rdi)
    ret

access_call:
    jmp *%rdi

    .section .note.GNU-stack, "", @progbits
