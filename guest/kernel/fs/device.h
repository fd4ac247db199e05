/* The files of /dev (device.c). */
#ifndef DEVICE_H
#define DEVICE_H

#include "file.h"
#include "types.h"

#define DEVICE(major, minor) ((major) << 8 | (minor))

void devices_init(void);        /* /dev, and what is in it but the console */
bool is_zero_device(const struct inode *);      /* /dev/zero: a mapping of it is anonymous memory */
extern const struct file_ops node_ops;          /* a node that the root file system brought: the device with its number */
struct inode *device_new(u32 mode, u32 number, const struct file_ops *, void *device);
void device_add(const char *name, struct inode *);

void random_bytes(u8 *to, u64 n);

#endif
