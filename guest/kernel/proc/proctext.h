/* What the files of /proc say (proctext.c). */
#ifndef PROCTEXT_H
#define PROCTEXT_H

#include "types.h"

struct inode;

struct text { u8 *bytes; u64 used, size; struct process *process; };

void text_add(struct text *, const char *format, ...) __attribute__((format(printf, 2, 3)));

void text_meminfo(struct text *), text_mounts(struct text *), text_stat(struct text *), text_uptime(struct text *);
void text_version(struct text *), text_loadavg(struct text *), text_cpuinfo(struct text *), text_filesystems(struct text *);
void text_ostype(struct text *), text_osrelease(struct text *), text_hostname(struct text *), text_pid_max(struct text *);
void text_process_stat(struct text *), text_process_status(struct text *), text_process_statm(struct text *);
void text_process_maps(struct text *), text_process_cmdline(struct text *), text_process_environ(struct text *);
void text_process_comm(struct text *);

/* net/proc_net.c */
void text_net_dev(struct text *), text_net_if_inet6(struct text *), text_net_route(struct text *), text_net_unix(struct text *);
void text_net_tcp(struct text *), text_net_tcp6(struct text *), text_net_udp(struct text *), text_net_udp6(struct text *);

bool inode_path(const struct inode *, char *to, u64 size);      /* its absolute path, or what stands for one */

#endif
