/* What the files of the RunV runtime share. */
#ifndef RUNV_H
#define RUNV_H

#include "host.h"
#include "vmcs.h"

/* vmx.c: VMX operation. */
void vmx_init(void);
void vmcs_load(void *vmcs);                     /* make it the current one */
void vmcs_clear(void *vmcs);
u32  vmx_controls(u32 wanted, u32 msr, const char *what);       /* with those that the processor insists on */
void invept(u64 ept_pointer), invvpid(u64 vpid);        /* single context */

/* vmcs.c: the fields of a new VMCS. */
void vmcs_fill(struct vcpu *);

/* entry.S: into the guest and back.  False: VM entry failed, and INSTRUCTION_ERROR says why. */
bool vm_enter(struct vcpu *, bool launched);
extern char vm_exit[];

/* exit.c */
void handle_exit(struct vcpu *);
void finish_instruction(struct vcpu *);         /* it has been emulated: go on behind it */
void skip(u64 length);                          /* the same, where the exit does not tell how long it is */
bool in_user_mode(void);                        /* CPL 3 */

/* events.c */
void inject_exception(struct vcpu *, u64 vector);                       /* without an error code */
void inject_fault(struct vcpu *, u64 vector, u64 error);
void inject_again(struct vcpu *);               /* what was being delivered when the exit came, if anything was */
void inject_interrupt(struct vcpu *);           /* what the devices have, or an exit when the guest can take it */
void wait_for_event(struct vcpu *);             /* HLT */

/* ept.c */
void ept_create(struct vcpu *);
void ept_destroy(struct vcpu *);
u64  ept_pointer(const struct vcpu *);
bool ept_map(u64 gpa, u64 hpa);                 /* false without memory for a table */
void ept_init(void);                            /* option ept= */
bool ept_map_large(u64 gpa, u64 hpa);           /* 2 MiB */
void ept_unmap_large(u64 gpa);
void ept_unmap(u64 gpa);
void ept_violation(struct vcpu *);

/* spt.c: shadow paging in place of EPT. */
extern bool shadow_paging;                      /* option mmu=spt */
void spt_create(struct vcpu *), spt_destroy(struct vcpu *);
void spt_unmap(u64 gpa);
void spt_enter(struct vcpu *);                  /* the last thing before the guest */
void spt_switch(struct vcpu *);                 /* CR3, or paging at all, has changed */
void spt_page_fault(struct vcpu *);
void spt_invlpg(struct vcpu *);
void spt_stored(const void *at, u64 size);      /* the host has written into the guest's memory */

/* spt_control.c: the control registers that shadow paging keeps from the guest. */
void spt_fill(void);                            /* of a new VMCS */
void spt_write_cr0(struct vcpu *, u64 value), spt_write_cr4(struct vcpu *, u64 value);
void spt_write_cr3(struct vcpu *, u64 value);
bool spt_write_efer(struct vcpu *, u64 value);

/* linear.c */
bool has_paging(void);                          /* as the guest sees it */
bool translate(u64 va, u64 *error, struct translation *);       /* guest_walk(), or as it is where paging is off */
enum access { READ, WRITE };
void *linear(u64 address, enum access, u64 *error);     /* NULL: #PF with this error code, or an address outside memory */

/* port.c, msr.c, cpuid.c, control.c: the instructions that exit. */
void port_exit(struct vcpu *);
void msr_init(void);
u64  msr_bitmap(void);                          /* its physical address */
void msr_load(struct vcpu *), msr_put(struct vcpu *);   /* those that VM entry and exit leave alone */
void rdmsr_exit(struct vcpu *), wrmsr_exit(struct vcpu *);
void cpuid_exit(struct vcpu *);
void control_init(void);
void control_fill(void);                                /* the masks of a new VMCS */
void control_load(struct vcpu *), control_put(struct vcpu *);
void control_exit(struct vcpu *);
void xsetbv_exit(struct vcpu *);

#define VECTOR_DB 1
#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_PF 14
#define VECTOR_AC 17
#define VECTOR_MC 18

#endif
