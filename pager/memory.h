/* The hypercall of the memory policies, other than Pager's requests (pager.h): which function, and two arguments of its.
 * Each policy numbers its own functions; a host that works by another one answers negative. */
#ifndef MEMORY_H
#define MEMORY_H

/* HC_MEMORY under ParaCell; under PVM and RunV this number, and under RunV only where CPUID says so, as for Pager. */
#define MEMORY_HYPERCALL 0x6d656d72

#endif
