/*
 * The root of every job's process tree, and the only part of Floe that is frozen and thawed with it.
 *
 *   supervisor run STATUS STDOUT STDERR DIRECTORY COMMAND [ARGUMENT ...]
 *   supervisor wait PID
 *
 * run   starts COMMAND in DIRECTORY and writes how it ended to STATUS, as "exited CODE" or "killed SIGNAL". STATUS is
 *       written whole or not at all, so an exit code survives any number of moves: whoever runs the job last reads it.
 *       Everything the job leaves behind is reparented to the supervisor, so no process slips out of the tree that
 *       CRIU dumps. Exit status: 0 when STATUS was written, 125 when it could not be, 126 when the job could not be
 *       set up (the reason is on STDERR). A COMMAND that cannot be executed is reported as "exited 127" or "exited 126",
 *       as a shell would.
 * wait  returns when process PID has ended, whoever its parent is. Exit status: 0, or 125 when it cannot be watched.
 *
 * The job gets no capability, can gain none, and no io_uring, which CRIU cannot dump (programs fall back to epoll).
 * It is linked statically: a frozen process maps its own executable, and this one must be the same in any image.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS_UNWRITABLE = 125, SETUP_FAILED = 126, NOT_FOUND = 127 };

static void give_up(const char *what) {
  fprintf(stderr, "floe: %s: %s\n", what, strerror(errno));
  exit(SETUP_FAILED);
}

static void drop_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
    if (prctl(PR_CAPBSET_DROP, cap) != 0 && errno != EPERM) give_up("cannot empty the bounding set");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) give_up("cannot clear ambient capabilities");
  if (syscall(SYS_capset, &header, none) != 0) give_up("cannot drop capabilities");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up("cannot set no_new_privs");
}

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "Floe runs on x86_64 and arm64"
#endif

/* io_uring_setup answers ENOSYS, as on a kernel without it. Other architectures' calls (32-bit programs) pass. */
static void refuse_io_uring(void) {
  struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) give_up("cannot install the seccomp filter");
}

static void redirect(const char *path, int flags, int target) {
  int fd = open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0) give_up(path);
  if (dup2(fd, target) < 0) give_up(path);
}

static void start(const char *directory, char **command) {
  /* A group of its own: `kill 0` is the job's to use, and must not reach the supervisor. */
  if (setpgid(0, 0) != 0) give_up("cannot make a process group");
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  if (chdir(directory) != 0) give_up(directory);
  execvp(command[0], command);
  fprintf(stderr, "floe: %s: %s\n", command[0], strerror(errno));
  _exit(errno == ENOENT ? NOT_FOUND : SETUP_FAILED);
}

static int record(const char *path, int status) {
  char text[64], temporary[4096];
  int length = WIFSIGNALED(status) ? snprintf(text, sizeof text, "killed %d\n", WTERMSIG(status))
                                   : snprintf(text, sizeof text, "exited %d\n", WEXITSTATUS(status));
  if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) return -1;
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return -1;
  if (write(fd, text, length) != length || fsync(fd) != 0 || close(fd) != 0) return -1;
  return rename(temporary, path);
}

static int run(const char *status_path, char **arguments) {
  setsid();
  prctl(PR_SET_NAME, "floe-supervisor");
  redirect("/dev/null", O_RDONLY, STDIN_FILENO);
  redirect(arguments[1], O_WRONLY | O_CREAT | O_APPEND, STDERR_FILENO);
  redirect(arguments[0], O_WRONLY | O_CREAT | O_APPEND, STDOUT_FILENO);
  if (syscall(SYS_close_range, 3, ~0U, 0) != 0) give_up("cannot close inherited files");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up("cannot become subreaper");
  drop_capabilities();
  refuse_io_uring();
  pid_t job = fork();
  if (job < 0) give_up("cannot fork");
  if (job == 0) start(arguments[2], arguments + 3);
  for (;;) {
    int status;
    pid_t ended = waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) return STATUS_UNWRITABLE;
    if (ended == job) return record(status_path, status) == 0 ? 0 : STATUS_UNWRITABLE;
  }
}

static int wait_for(pid_t pid) {
  int fd = syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return errno == ESRCH ? 0 : STATUS_UNWRITABLE;
  struct pollfd entry = {fd, POLLIN, 0};
  while (poll(&entry, 1, -1) < 0)
    if (errno != EINTR) return STATUS_UNWRITABLE;
  return 0;
}

int main(int count, char **arguments) {
  if (count >= 7 && strcmp(arguments[1], "run") == 0) return run(arguments[2], arguments + 3);
  if (count == 3 && strcmp(arguments[1], "wait") == 0) return wait_for(atoi(arguments[2]));
  fprintf(stderr, "usage: supervisor run STATUS STDOUT STDERR DIRECTORY COMMAND [ARGUMENT ...] | supervisor wait PID\n");
  return SETUP_FAILED;
}
