/*
 * Starts a program that can reach nothing but what it is given: for work on files that somebody else has made.
 *
 *   confine [OPTION...] -- PROGRAM [ARGUMENT...]
 *     --execute PATH      the program may read and execute this file, or everything below this folder
 *     --read PATH         it may read this file, or everything below this folder
 *     --write PATH        it may read, make, change and remove everything below this folder
 *     --capability NAME   root keeps this capability (dac_override, dac_read_search or fowner); it loses all others
 *     --files COUNT       how many files it may have open at a time
 *     --memory BYTES      how much memory it may have (RLIMIT_DATA: all that is private and writable)
 *
 * A path that does not exist is passed over. What holds for the program, and cannot be undone by it:
 *
 *   - Landlock refuses every other file, every TCP port, abstract sockets and signals to others (as far as the kernel's version knows).
 *     It does not refuse chmod, chown or utime: against those the program itself must be careful about links.
 *   - no_new_privs, an empty bounding set but for the named capabilities, no core dump.
 *   - A filter of system calls: no socket, no process of its own, no ptrace, mount, BPF, keys or handles of files.
 *   - A network namespace of its own, where the caller may make one. It ends when the thread that started it ends.
 *
 * The program finds in its environment as CONFINEMENT what the kernel has: `landlock`, or `none` where there is no Landlock. That of
 * version 1 (kernels before 5.19) cannot make hard links, and is not used for `--write`. All else must succeed: or confine says why on
 * stderr and exits with 125.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

/* Of linux/landlock.h, spelled out: this is compiled with older headers, too. */
enum {
  FS_EXECUTE = 1 << 0,
  FS_WRITE_FILE = 1 << 1,
  FS_READ_FILE = 1 << 2,
  FS_READ_DIR = 1 << 3,
  FS_REMOVE_DIR = 1 << 4,
  FS_REMOVE_FILE = 1 << 5,
  FS_MAKE_DIR = 1 << 7,
  FS_MAKE_REG = 1 << 8,
  FS_MAKE_SYM = 1 << 12,
  FS_REFER = 1 << 13,
  FS_TRUNCATE = 1 << 14,
};
enum { CREATE_RULESET_VERSION = 1, RULE_PATH_BENEATH = 1 };
struct ruleset { uint64_t fs, net, scoped; };
struct path_beneath { uint64_t access; int32_t parent; } __attribute__((packed));

static const uint64_t OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE;
static const uint64_t TO_READ = FS_READ_FILE | FS_READ_DIR;
static const uint64_t TO_EXECUTE = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR;
static const uint64_t TO_WRITE = FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR
  | FS_MAKE_REG | FS_MAKE_SYM | FS_REFER | FS_TRUNCATE;

static void fail(const char *what) {
  fprintf(stderr, "confine: %s: %s\n", what, strerror(errno));
  exit(125);
}

static const struct { const char *name; int number; } capabilities[] = {
  {"dac_override", CAP_DAC_OVERRIDE},
  {"dac_read_search", CAP_DAC_READ_SEARCH},
  {"fowner", CAP_FOWNER},
};

static uint64_t capability(const char *name) {
  for (size_t at = 0; at < COUNT(capabilities); at++)
    if (strcmp(capabilities[at].name, name) == 0) return UINT64_C(1) << capabilities[at].number;
  errno = EINVAL;
  fail(name);
  return 0;
}

/* Others than root have none, and cannot take any from the bounding set. */
static void keep_capabilities(uint64_t kept) {
  for (int number = 0; prctl(PR_CAPBSET_READ, number) >= 0; number++) {
    if ((kept >> number & 1) == 0 && prctl(PR_CAPBSET_DROP, number) != 0 && errno != EPERM) fail("bounding set");
  }
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct now[2];
  if (syscall(SYS_capget, &header, now) != 0) fail("capget");
  for (int half = 0; half < 2; half++) {
    uint32_t mask = (uint32_t)(kept >> (32 * half));
    now[half].permitted &= mask;
    now[half].effective = now[half].permitted;
    now[half].inheritable = 0;
  }
  if (syscall(SYS_capset, &header, now) != 0) fail("capset");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) fail("ambient capabilities");
}

static void limit(int resource, const char *value, const char *name) {
  char *end;
  rlim_t number = strtoull(value, &end, 10);
  struct rlimit now;
  if (*value == '\0' || *end != '\0') errno = EINVAL;
  else if (getrlimit(resource, &now) == 0) {
    if (number > now.rlim_max) number = now.rlim_max;
    now.rlim_cur = now.rlim_max = number;
    if (setrlimit(resource, &now) == 0) return;
  }
  fail(name);
}

/* The ruleset's descriptor, or -1 where the kernel has no Landlock that would do. */
static int begin_landlock(int writes, uint64_t *handled) {
  long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
  if (version < (writes ? 2 : 1)) return -1;
  struct ruleset ruleset = {.fs = (1 << 13) - 1};
  size_t size = sizeof ruleset.fs;
  if (version >= 2) ruleset.fs |= FS_REFER;
  if (version >= 3) ruleset.fs |= FS_TRUNCATE;
  if (version >= 4) ruleset.net = 3, size = 16; /* bind and connect of TCP */
  if (version >= 5) ruleset.fs |= 1 << 15;      /* ioctl of devices */
  if (version >= 6) ruleset.scoped = 3, size = sizeof ruleset; /* abstract sockets, signals */
  *handled = ruleset.fs;
  int descriptor = (int)syscall(SYS_landlock_create_ruleset, &ruleset, size, 0);
  if (descriptor < 0) fail("landlock");
  return descriptor;
}

static void allow(int ruleset, const char *path, uint64_t access) {
  struct path_beneath rule = {.parent = open(path, O_PATH | O_CLOEXEC)};
  struct stat found;
  if (rule.parent < 0) {
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) return;
    fail(path);
  }
  if (fstat(rule.parent, &found) != 0) fail(path);
  rule.access = S_ISDIR(found.st_mode) ? access : access & OF_FILES;
  if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) != 0) fail(path);
  close(rule.parent);
}

/* What Node never needs for work on files, and what reaches beyond this process. A name that this machine does not have is passed over. */
static const char *const refused[] = {
  "accept", "accept4", "acct", "add_key", "bind", "bpf", "chroot", "connect", "delete_module", "execveat", "fanotify_init", "finit_module",
  "fork", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
  "kill", "listen", "mknod", "mknodat", "mount", "mount_setattr", "move_mount", "name_to_handle_at", "open_by_handle_at", "open_tree",
  "perf_event_open", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pivot_root", "process_madvise", "process_vm_readv",
  "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "sethostname",
  "setdomainname", "setns", "settimeofday", "socket", "socketpair", "swapoff", "swapon", "syslog", "tkill", "umount", "umount2", "unshare",
  "userfaultfd", "vfork", "vhangup",
};
/* A program falls back from these to what is older. */
static const char *const unknown[] = {"clone3", "io_uring_enter", "io_uring_register", "io_uring_setup"};

static int refuse(scmp_filter_ctx filter, uint32_t answer, const char *const *names, size_t count) {
  int result = 0;
  for (size_t at = 0; result == 0 && at < count; at++) {
    int call = seccomp_syscall_resolve_name(names[at]);
    if (call != __NR_SCMP_ERROR) result = seccomp_rule_add(filter, answer, call, 0);
  }
  return result;
}

static void filter_calls(void) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (filter == NULL) fail("seccomp");
  /* The calls of 32-bit programs have other numbers. */
  int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (result == 0) result = refuse(filter, SCMP_ACT_ERRNO(EPERM), refused, COUNT(refused));
  if (result == 0) result = refuse(filter, SCMP_ACT_ERRNO(ENOSYS), unknown, COUNT(unknown));
  /* Threads, but no processes. */
  if (result == 0)
    result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
  if (result == 0) result = seccomp_load(filter);
  seccomp_release(filter);
  errno = -result;
  if (result != 0) fail("seccomp");
}

int main(int argc, char **argv) {
  uint64_t kept = 0, handled = 0;
  int at = 1, writes = 0;
  for (int look = 1; look < argc && strcmp(argv[look], "--") != 0; look++) writes |= strcmp(argv[look], "--write") == 0;
  int ruleset = begin_landlock(writes, &handled);
  for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2) {
    const char *option = argv[at], *value = argv[at + 1];
    uint64_t access = 0;
    if (strcmp(option, "--execute") == 0) access = TO_EXECUTE;
    else if (strcmp(option, "--read") == 0) access = TO_READ;
    else if (strcmp(option, "--write") == 0) access = TO_WRITE;
    else if (strcmp(option, "--capability") == 0) kept |= capability(value);
    else if (strcmp(option, "--files") == 0) limit(RLIMIT_NOFILE, value, option);
    else if (strcmp(option, "--memory") == 0) limit(RLIMIT_DATA, value, option);
    else errno = EINVAL, fail(option);
    if (access != 0 && ruleset >= 0) allow(ruleset, value, access & handled);
  }
  char **program = argv + at + 1;
  if (at >= argc || strcmp(argv[at], "--") != 0 || program[0] == NULL) errno = EINVAL, fail("no program");

  limit(RLIMIT_CORE, "0", "core");
  /* Who may not have one has no way to the network either: the filter refuses sockets. */
  if (unshare(CLONE_NEWNET) != 0 && errno != EPERM && errno != EINVAL && errno != ENOSPC) fail("network namespace");
  keep_capabilities(kept);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail("death signal");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("no_new_privs");
  if (ruleset >= 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) fail("landlock");
  if (setenv("CONFINEMENT", ruleset >= 0 ? "landlock" : "none", 1) != 0) fail("environment");
  filter_calls();
  execv(program[0], program);
  fail(program[0]);
}
