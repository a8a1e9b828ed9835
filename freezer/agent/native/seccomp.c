/*
 * The system calls that a job may make: those that Docker's default profile leaves to a container without capabilities
 * (github.com/moby/profiles, seccomp/default.json, as of May 2026), except that
 *
 *   - a call that is not on the list answers ENOSYS, not EPERM, unless it is an old one that a program knows to be refused.
 *     So a program falls back from a call that is newer than this list, as it would on an older kernel;
 *   - io_uring answers ENOSYS, because CRIU cannot dump it: programs fall back to epoll;
 *   - the x32 ABI is refused as a whole: nothing uses it, and CRIU does not know it.
 *
 * A list of what is allowed, and not one of what is refused: without capabilities most of what Docker refuses would fail by
 * itself, and what the profile is for are calls with which an unprivileged program could reach a fault of the kernel's. Those
 * are the new and the rare ones, which a list of refusals never has in time. The price, a list to be brought up to date now and
 * then, is small where ENOSYS is the answer; and the kernel remembers which calls are always allowed, so its length costs no time.
 *
 * It is linked statically with libseccomp, which knows the numbers on each architecture; names that it does not know yet are left
 * out. CRIU dumps the filter and puts it back as it was, once: a job never has it twice, however often it moves, and a job that
 * was started by an older Floe keeps the filter of then.
 */
#define _GNU_SOURCE
#include "seccomp.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/personality.h>
#include <sys/socket.h>

static const char *const allowed[] = {
    "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "arm_fadvise64_64", "arm_sync_file_range", "bind",
    "breakpoint", "brk", "cacheflush", "cachestat", "capget", "capset", "chdir", "chmod", "chown", "chown32",
    "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64",
    "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range", "connect", "copy_file_range", "creat", "dup",
    "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat",
    "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat", "fchmodat2",
    "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork",
    "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate",
    "ftruncate64", "futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "futimesat",
    "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32", "geteuid",
    "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp",
    "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit",
    "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr",
    "getxattrat", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set",
    "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lchown32",
    "lgetxattr", "link", "linkat", "listen", "listmount", "listxattr", "listxattrat", "llistxattr", "_llseek",
    "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier", "memfd_create",
    "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2", "mlockall", "mmap", "mmap2",
    "modify_ldt", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
    "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync",
    "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep", "newfstatat", "_newselect", "open", "openat",
    "openat2", "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect",
    "poll", "ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease",
    "process_vm_readv", "process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64", "pwritev", "pwritev2",
    "read", "readahead", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
    "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2", "restart_syscall", "rmdir",
    "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
    "sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendfile",
    "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_robust_list", "set_thread_area", "set_tid_address", "set_tls",
    "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer",
    "setpgid", "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid",
    "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "setxattrat", "shmat", "shmctl",
    "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "sigprocmask", "sigreturn", "socketcall",
    "socketpair", "splice", "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "sync_file_range2", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
    "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate",
    "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "uretprobe", "utime", "utimensat",
    "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4", "waitid", "waitpid", "write", "writev",
};

/* Answered with EPERM. */
static const char *const refused[] = {
    "acct", "add_key", "bpf", "chroot", "clock_settime", "clock_settime64", "create_module", "delete_module",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "get_mempolicy",
    "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie",
    "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mbind", "migrate_pages", "mount", "mount_setattr",
    "move_mount", "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd",
    "pivot_root", "process_madvise", "query_module", "quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy",
    "set_mempolicy_home_node", "setdomainname", "sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon",
    "_sysctl", "sysfs", "syslog", "umount", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup", "vm86",
    "vm86old",
};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define REFUSE SCMP_ACT_ERRNO(EPERM)
#define MISSING SCMP_ACT_ERRNO(ENOSYS)

static int add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count) {
  int result = 0;
  for (size_t at = 0; at < count && result == 0; at++) {
    int number = seccomp_syscall_resolve_name(names[at]);
    if (number != __NR_SCMP_ERROR) result = seccomp_rule_add(filter, action, number, 0);
  }
  return result;
}

/* New processes and threads, but no new namespaces. The flags of clone3 are in memory, where a filter cannot look. */
static int add_clone(scmp_filter_ctx filter) {
  static const unsigned int flags[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET};
  unsigned int all = 0;
  int result = 0;
  for (size_t at = 0; at < COUNT(flags) && result == 0; at++) {
    all |= flags[at];
    result = seccomp_rule_add(filter, REFUSE, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flags[at], flags[at]));
  }
  return result ? result : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, all, 0));
}

/* Any family but the kernel's cryptography (AF_ALG) and the way to the hypervisor (AF_VSOCK), which have no namespaces. */
static int add_socket(scmp_filter_ctx filter) {
  int result = seccomp_rule_add(filter, REFUSE, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_ALG));
  if (result == 0) result = seccomp_rule_add(filter, REFUSE, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_VSOCK));
  if (result == 0) result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_LT, AF_ALG));
  if (result == 0) result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_ALG + 1));
  if (result == 0) result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_VSOCK));
  return result;
}

/* What `setarch` is used for and the question (0xffffffff), but not what weakens a program's defences. */
static int add_personality(scmp_filter_ctx filter) {
  static const unsigned int values[] = {PER_LINUX, PER_LINUX32, UNAME26, PER_LINUX32 | UNAME26, 0xffffffff};
  int result = 0;
  for (size_t at = 0; at < COUNT(values) && result == 0; at++)
    result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1, SCMP_A0(SCMP_CMP_EQ, values[at]));
  return result;
}

/* 32-bit programs of the same family. */
static int add_architectures(scmp_filter_ctx filter) {
  switch (seccomp_arch_native()) {
    case SCMP_ARCH_X86_64: return seccomp_arch_add(filter, SCMP_ARCH_X86);
    case SCMP_ARCH_AARCH64: return seccomp_arch_add(filter, SCMP_ARCH_ARM);
    default: return -ENOTSUP;
  }
}

int install_job_filter(void) {
  scmp_filter_ctx filter = seccomp_init(MISSING);
  if (filter == NULL) return -ENOMEM;
  int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, MISSING);
  /* A binary search for the number instead of a walk through all. */
  if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
  if (result == 0) result = add_architectures(filter);
  if (result == 0) result = add_names(filter, SCMP_ACT_ALLOW, allowed, COUNT(allowed));
  if (result == 0) result = add_names(filter, REFUSE, refused, COUNT(refused));
  if (result == 0) result = add_clone(filter);
  if (result == 0) result = add_socket(filter);
  if (result == 0) result = add_personality(filter);
  if (result == 0) result = seccomp_load(filter);
  seccomp_release(filter);
  return result;
}
