"""The system calls of the container kernel, described: what each argument is, and what a result is good for.

A line is a call: number, name, a word for each argument, and behind ``->`` the resource that its result is.  `call_arguments` says what a
word stands for.  Left out are the calls by which the caller would come to be two, or nobody: fork, vfork, clone, execve, exit,
exit_group, rt_sigreturn, reboot and their like.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_TABLE: Final = """
    0 read fd room size
    1 write fd text size
    2 open path open mode -> fd
    3 close fd
    4 stat path room
    5 fstat fd room
    6 lstat path room
    7 poll fds count small
    8 lseek fd offset small
    9 mmap memory size prot map fd offset -> memory
    10 mprotect memory size prot
    11 munmap memory size
    12 brk any
    13 rt_sigaction signal action room size8
    14 rt_sigprocmask small set room size8
    16 ioctl fd request room
    17 pread64 fd room size offset
    18 pwrite64 fd text size offset
    19 readv fd vector count
    20 writev fd vector count
    21 access path mode
    22 pipe room
    23 select count room room room time
    24 sched_yield
    25 mremap memory size size flags memory -> memory
    26 msync memory size flags
    27 mincore memory size room
    28 madvise memory size small
    29 shmget key size ipc -> shm
    30 shmat shm memory flags -> memory
    31 shmctl shm small room
    32 dup fd -> fd
    33 dup2 fd fd -> fd
    34 pause
    35 nanosleep time room
    36 getitimer small room
    37 alarm small
    38 setitimer small time room
    39 getpid -> pid
    40 sendfile fd fd room size
    41 socket family type small -> socket
    42 connect socket address small
    43 accept socket room length -> socket
    44 sendto socket text size flags address small
    45 recvfrom socket room size flags room length
    46 sendmsg socket message flags
    47 recvmsg socket message flags
    48 shutdown socket small
    49 bind socket address small
    50 listen socket small
    51 getsockname socket room length
    52 getpeername socket room length
    53 socketpair family type small room
    54 setsockopt socket small small text small
    55 getsockopt socket small small room length
    61 wait4 pid room any room
    62 kill pid signal
    63 uname room
    64 semget key small ipc -> sem
    65 semop sem semop count
    66 semctl sem small semcmd any
    67 shmdt memory
    68 msgget key ipc -> queue
    69 msgsnd queue text size flags
    70 msgrcv queue room size small flags
    71 msgctl queue small room
    72 fcntl fd fcntl any
    73 flock fd small
    74 fsync fd
    75 fdatasync fd
    76 truncate path size
    77 ftruncate fd size
    79 getcwd room size
    80 chdir path
    81 fchdir fd
    82 rename path path
    83 mkdir path mode
    84 rmdir path
    85 creat path mode -> fd
    86 link path path
    87 unlink path
    88 symlink path path
    89 readlink path room size
    90 chmod path mode
    91 fchmod fd mode
    92 chown path id id
    93 fchown fd id id
    94 lchown path id id
    95 umask set
    96 gettimeofday time any
    97 getrlimit small room
    98 getrusage pid room
    99 sysinfo room
    100 times room
    102 getuid
    104 getgid
    105 setuid id
    106 setgid id
    107 geteuid
    108 getegid
    109 setpgid pid any
    110 getppid
    111 getpgrp -> pid
    112 setsid -> pid
    113 setreuid id id
    114 setregid id id
    115 getgroups size room
    116 setgroups count text
    117 setresuid id id id
    118 getresuid id id id
    119 setresgid id id id
    120 getresgid id id id
    121 getpgid pid
    124 getsid pid
    127 rt_sigpending room size8
    128 rt_sigtimedwait set room time size8
    129 rt_sigqueueinfo pid signal text
    130 rt_sigsuspend set size8
    131 sigaltstack room room
    132 utime path time
    133 mknod path mode any
    135 personality any
    137 statfs path room
    138 fstatfs fd room
    140 getpriority small pid
    141 setpriority small pid any
    142 sched_setparam pid text
    143 sched_getparam pid room
    144 sched_setscheduler pid any text
    145 sched_getscheduler pid
    146 sched_get_priority_max any
    147 sched_get_priority_min any
    149 mlock memory size
    150 munlock memory size
    151 mlockall flags
    152 munlockall
    157 prctl small any any any any
    158 arch_prctl arch any
    160 setrlimit small text
    161 chroot path
    162 sync
    170 sethostname text size
    171 setdomainname text size
    186 gettid -> pid
    188 setxattr path text small size flags
    189 lsetxattr path text small size flags
    190 fsetxattr fd text small size flags
    191 getxattr path text small size
    192 lgetxattr path text small size
    193 fgetxattr fd text small size
    194 listxattr path room size
    195 llistxattr path room size
    196 flistxattr fd room size
    197 removexattr path text
    198 lremovexattr path text
    199 fremovexattr fd text
    200 tkill pid signal
    201 time room
    202 futex word futex small time word small
    203 sched_setaffinity pid size text
    204 sched_getaffinity pid size room
    213 epoll_create count -> epoll
    217 getdents64 fd room size
    218 set_tid_address any
    220 semtimedop sem semop count time
    221 fadvise64 fd offset size small
    222 timer_create small event room
    223 timer_settime small flags room room
    224 timer_gettime small room
    225 timer_getoverrun small
    226 timer_delete small
    228 clock_gettime small room
    229 clock_getres small room
    230 clock_nanosleep small flags time room
    232 epoll_wait epoll room count small
    233 epoll_ctl epoll small fd event
    234 tgkill pid pid signal
    235 utimes path time
    247 waitid small id room any room
    251 ioprio_set small pid any
    252 ioprio_get small pid
    253 inotify_init -> watch
    254 inotify_add_watch watch path flags -> wd
    255 inotify_rm_watch watch wd
    257 openat dir path open mode -> fd
    258 mkdirat dir path mode
    259 mknodat dir path mode any
    260 fchownat dir path id id flags
    262 newfstatat dir path room flags
    263 unlinkat dir path flags
    264 renameat dir path dir path
    265 linkat dir path dir path flags
    266 symlinkat path dir path
    267 readlinkat dir path room size
    268 fchmodat dir path mode
    269 faccessat dir path mode
    270 pselect6 count room room room time room
    271 ppoll fds count time set size8
    273 set_robust_list word size24
    274 get_robust_list pid any size
    275 splice fd room fd room size flags
    276 tee fd fd size flags
    278 vmsplice fd vector count flags
    280 utimensat dir path time flags
    281 epoll_pwait epoll room count small set size8
    282 signalfd fd set size8 -> fd
    283 timerfd_create small open -> timer
    284 eventfd small -> fd
    285 fallocate fd mode offset size
    286 timerfd_settime timer small time room
    287 timerfd_gettime timer room
    288 accept4 socket room length type -> socket
    289 signalfd4 fd set size8 open -> fd
    290 eventfd2 small open -> fd
    291 epoll_create1 open -> epoll
    292 dup3 fd fd open -> fd
    293 pipe2 room open
    294 inotify_init1 open -> watch
    295 preadv fd vector count any
    296 pwritev fd vector count any
    297 rt_tgsigqueueinfo pid pid signal text
    299 recvmmsg fd message count flags time
    302 prlimit64 pid small room room
    307 sendmmsg fd message count flags
    309 getcpu any any
    316 renameat2 dir path dir path small
    318 getrandom room size flags
    319 memfd_create text small -> fd
    326 copy_file_range fd any fd any size flags
    329 pkey_mprotect memory size prot key
    330 pkey_alloc small small -> key
    331 pkey_free key
    332 statx dir path flags set room
    436 close_range any any flags
    439 faccessat2 dir path mode flags
"""


class Call(NamedTuple):
    """One call.

    Attributes:
        number: Linux's.
        name: its name.
        arguments: a word for each.
        gives: the resource that its result is, or "".

    """

    number: int
    name: str
    arguments: tuple[str, ...]
    gives: str


def _call(line: str) -> Call:
    number, name, *words = line.split()
    gives = words[words.index("->") + 1] if "->" in words else ""
    return Call(int(number), name, tuple(words[: words.index("->")] if gives else words), gives)


CALLS: Final = tuple(_call(line) for line in _TABLE.strip().splitlines())
BY_NUMBER: Final = {call.number: call for call in CALLS}
