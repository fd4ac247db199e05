/* Socket options (option.c). */
#ifndef OPTION_H
#define OPTION_H

#include "types.h"

#define SOL_SOCKET 1
#define IPPROTO_IP 0
#define IPPROTO_TCP 6
#define IPPROTO_IPV6 41
#define SO_REUSEADDR 2
#define SO_REUSEPORT 15
#define SO_PASSCRED 16
#define IPV6_V6ONLY 26

#define IPPROTO_UDPLITE 136
#define OPTIONS 55

struct linger { i32 on, seconds; };

void socket_options_init(i32 values[OPTIONS]);
i32 option_of(const i32 values[OPTIONS], u32 level, u32 option);        /* one that there is */

#endif
