/* Settings of the first process, as the init block has them behind arguments and variables. */
#include "settings.h"

#include "fs/inode.h"
#include "fs/volume.h"
#include "kernel.h"
#include "platform/console.h"
#include "process.h"

#define BAD_SETTING 125

const char *settings_program;

static void refuse(const char *setting, const char *why) __attribute__((noreturn));
static void refuse(const char *setting, const char *why) {
    print("setting %s: %s", setting, why);
    plat_exit(BAD_SETTING);
}

/* Decimal; moves behind it. */
static u64 number(const char **s) {
    u64 value = 0;

    while (**s >= '0' && **s <= '9')
        value = value * 10 + (u64)(*(*s)++ - '0');
    return value;
}

static struct inode *place(const char *setting, const char *path) {
    struct inode *i;

    if (name_lookup(root_inode, path, true, &i))
        refuse(setting, "no such file or directory");
    return i;
}

static void set_directory(const char *setting, const char *path) {
    struct inode *i = place(setting, path);

    if (!is_directory(i))
        refuse(setting, "not a directory");
    inode_put(current->process->directory);
    current->process->directory = i;
}

/* A limit above what there is would promise too much: the number of open files stays what the table holds. */
static void set_limit(const char *setting, const char *value) {
    struct rlimit *limits = current->process->limits;
    u64 resource = number(&value), soft, hard;

    if (*value++ != ':' || resource >= RLIMITS)
        refuse(setting, "no such resource");
    soft = number(&value);
    if (*value++ != ':')
        refuse(setting, "two numbers are wanted");
    hard = number(&value);
    if (soft > hard)
        refuse(setting, "the soft limit is above the hard one");
    if (resource == RLIMIT_NOFILE)
        hard = MIN(hard, limits[resource].hard);
    limits[resource] = (struct rlimit){MIN(soft, hard), hard};
}

static void add_group(const char *setting, u32 id) {
    struct groups *g = &current->process->groups;
    u32 at = g->count;

    if (g->count == GROUPS_MAX)
        refuse(setting, "too many groups");
    for (; at && g->id[at - 1] > id; at--)      /* in ascending order, as setgroups() keeps them */
        g->id[at] = g->id[at - 1];
    g->id[at] = id;
    g->count++;
}

static void set_hostname(const char *setting, const char *name) {
    u64 n = strlen(name);

    if (n >= sizeof system_name.nodename)
        refuse(setting, "too long");
    memcpy(system_name.nodename, name, n);
    system_name.nodename[n] = 0;
}

static void mark_path(const char *setting, const char *path, bool read_only) {
    struct inode *i = place(setting, path);

    inode_set_read_only(i, read_only);
    inode_put(i);
}

static void set_mounted(const char *setting, const char *path) {
    struct inode *i = place(setting, path);

    i->mounted = true;
    inode_put(i);
}

static const char *value_of(const char *setting, const char *name) {
    u64 n = strlen(name);

    return strnlen(setting, n + 1) > n && memcmp(setting, name, n) == 0 && setting[n] == '=' ? setting + n + 1 : NULL;
}

void settings_apply(const char *setting) {
    struct process *p = current->process;
    const char *v;

    if ((v = value_of(setting, "program")))
        settings_program = v;
    else if ((v = value_of(setting, "cwd")))
        set_directory(setting, v);
    else if ((v = value_of(setting, "uid")))
        p->uid.real = p->uid.effective = p->uid.saved = (u32)number(&v);
    else if ((v = value_of(setting, "gid")))
        p->gid.real = p->gid.effective = p->gid.saved = (u32)number(&v);
    else if ((v = value_of(setting, "group")))
        add_group(setting, (u32)number(&v));
    else if ((v = value_of(setting, "umask")))
        p->umask = (u32)number(&v) & 0777;
    else if ((v = value_of(setting, "nonewprivs")))
        p->no_new_privileges = number(&v);
    else if ((v = value_of(setting, "init")))
        p->unkillable = number(&v);
    else if ((v = value_of(setting, "rlimit")))
        set_limit(setting, v);
    else if ((v = value_of(setting, "hostname")))
        set_hostname(setting, v);
    else if ((v = value_of(setting, "readonly")))
        mark_path(setting, v, true);
    else if ((v = value_of(setting, "writable")))
        mark_path(setting, v, false);
    else if ((v = value_of(setting, "mounted")))
        set_mounted(setting, v);
    else if ((v = value_of(setting, "leave")))
        volumes_leave_always();
    else if ((v = value_of(setting, "volume")))
        volume_add(v, place(setting, v));
    else
        refuse(setting, "unknown");
}
