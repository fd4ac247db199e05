/* The defences, each with a switch: an attack that fails shows something only if it succeeds without the one that
 * stops it.  Options off=NAME, for container kernel and host alike. */
#ifndef DEFENCE_H
#define DEFENCE_H

#include "types.h"

#define DEFENCES(X) \
    X(keys)      /* the container kernel's memory has a key of its own */ \
    X(check)     /* the gate compares the value behind each WRPKRU */ \
    X(stack)     /* the gate takes its stack from its own memory … */ \
    X(gs)        /* … at a fixed address, not by a segment base */ \
    X(scan)      /* whatever becomes executable is looked through, and is not writable */ \
    X(bytes)     /* … at every byte */ \
    X(border)    /* … and across the borders of pages */ \
    X(patch)     /* … and so is what the kernel writes into code itself */ \
    X(xrstor)    /* … for XRSTOR as well */ \
    X(copy)      /* what was looked through belongs to no file and no other mapping */ \
    X(shared)    /* shared memory is not executable */ \
    X(move)      /* code stays where it was looked through */ \
    X(emulate)   /* a program's WRPKRU changes its own keys only */ \
    X(sigreturn) /* so does a signal frame */ \
    X(usercopy)  /* a pointer from a program is followed in its own half only */ \
    X(range)     /* a program maps its own half only */ \
    X(hold)      /* an interrupt waits while the container kernel runs */ \
    X(caller)    /* a SYSCALL is a hypercall only from the container kernel */ \
    X(int80)     /* INT 80h is nobody's way in */ \
    X(number)    /* hypercalls have numbers up to a last one */ \
    X(handle)    /* an address space is one of the container's own */ \
    X(gpa)       /* a page is one of the container's own */ \
    X(half)      /* a mapping is made in container user's half */ \
    X(pointer)   /* a pointer from a container kernel is followed in its own memory only */ \
    X(canonical) /* IRET gets no address that it would fault on */ \
    X(flags)     /* … and no flags that are the host's to set */ \
    X(selectors) /* … and no selectors of ring 0 */ \
    X(preempt)   /* a container has its slice and no more */ \
    X(zero)      /* memory that changes hands is cleared */ \
    X(pool)      /* each container has its own part of the memory */ \
    X(flush)     /* what is unmapped leaves the TLB */

enum defence {
#define NAME(name) DEFENCE_##name,
    DEFENCES(NAME)
#undef NAME
};

extern u64 defences_off;                        /* bit n: defence n */

#define OFF(name) (defences_off >> DEFENCE_##name & 1)

void defences_init(const char *options);

#endif
