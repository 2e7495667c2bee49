/*
 * One entry of 16 bytes for each exception.  Some exceptions come with an error code (SDM volume 3A, table 6-1); for
 * the others a zero takes its place, so that all look alike to trap_taken().
 */
    .section .text
    .globl trap_stubs
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 32
    .balign 16
    .if (vector < 8) || (vector == 9) || ((vector > 14) && (vector != 17) && (vector != 21) && (vector < 29)) || (vector == 31)
    pushl $0
    .endif
    pushl $vector
    jmp common
    .set vector, vector + 1
    .endr

common:
    cld
    movl %esp, %eax
    andl $-16, %esp
    subl $12, %esp
    pushl %eax
    call trap_taken

    .section .note.GNU-stack, "", @progbits
