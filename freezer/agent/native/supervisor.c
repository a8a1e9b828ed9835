/*
 * The root of every job's process tree, and the only part of Floe that is frozen and thawed with it.
 *
 *   supervisor run STATUS STDOUT STDERR DIRECTORY UID GID GROUPS COMMAND [ARGUMENT ...]
 *   supervisor wait PID
 *
 * run   starts COMMAND in DIRECTORY as user UID with group GID and the supplementary GROUPS, numbers with commas between them
 *       or `-` for none, and writes how it ended to STATUS, as "exited CODE" or "killed SIGNAL". STATUS is opened at the
 *       start, as is all that it will ever need: without capabilities it could not enter the folder later. It moves with the
 *       job, so an exit code survives any number of moves: whoever runs the job last reads it; empty, the job has not ended.
 *       Everything the job leaves behind is reparented to the supervisor, so no process slips out of the tree that
 *       CRIU dumps. Exit status: 0 when STATUS was written, 125 when it could not be, 126 when the job could not be
 *       set up (the reason is on STDERR). A COMMAND that cannot be executed is reported as "exited 127" or "exited 126",
 *       as a shell would.
 * wait  returns when process PID has ended, whoever its parent is. Exit status: 0, or 125 when it cannot be watched.
 *
 * The job gets no capability, can gain none, and has a seccomp profile (seccomp.c). So has the supervisor itself.
 * It is linked statically, and a copy of it moves with the job: a frozen process maps its own executable, and CRIU wants to find
 * the very same file, whatever version of Floe and whatever image the job is thawed in.
 */
#define _GNU_SOURCE
#include "seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS_UNWRITABLE = 125, SETUP_FAILED = 126, NOT_FOUND = 127 };
enum { STATUS_FD = 3 };

struct user {
  uid_t uid;
  gid_t gid;
  size_t group_count;
  gid_t groups[NGROUPS_MAX];
};

static void give_up(const char *what) {
  fprintf(stderr, "floe: %s: %s\n", what, strerror(errno));
  exit(SETUP_FAILED);
}

/* The number at `text`, which ends at `end`. */
static unsigned int number_at(char *text, char **end) {
  errno = 0;
  unsigned long number = strtoul(text, end, 10);
  if (*end == text || errno != 0 || number >= UINT_MAX) {
    errno = EINVAL;
    give_up(text);
  }
  return (unsigned int)number;
}

static void read_user(struct user *user, char **arguments) {
  char *end;
  user->uid = number_at(arguments[0], &end);
  user->gid = number_at(arguments[1], &end);
  user->group_count = 0;
  if (strcmp(arguments[2], "-") == 0) return;
  for (char *text = arguments[2];; text = end + 1) {
    if (user->group_count == NGROUPS_MAX) errno = E2BIG, give_up("too many groups");
    user->groups[user->group_count++] = number_at(text, &end);
    if (*end != ',') return;
  }
}

/* From here on the process and its children can gain nothing, though they still have what they have. */
static void close_the_way_up(void) {
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
    if (prctl(PR_CAPBSET_DROP, cap) != 0 && errno != EPERM) give_up("cannot empty the bounding set");
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) give_up("cannot clear ambient capabilities");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up("cannot set no_new_privs");
  int result = install_job_filter();
  if (result != 0) errno = -result, give_up("cannot install the seccomp filter");
}

static void drop_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  if (syscall(SYS_capset, &header, none) != 0) give_up("cannot drop capabilities");
}

static void become(const struct user *user) {
  if (setgroups(user->group_count, user->groups) != 0) give_up("cannot set the groups");
  if (setresgid(user->gid, user->gid, user->gid) != 0) give_up("cannot set the group");
  if (setresuid(user->uid, user->uid, user->uid) != 0) give_up("cannot set the user");
  drop_capabilities();
}

/*
 * Of all that is in a container which is at its limit of memory, the kernel kills the process with the most: it shall be one of the
 * job's, and not the agent, with which the whole container would end.
 */
static void be_killed_first(void) {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0 || write(file, "500", 3) != 3 || close(file) != 0) give_up("/proc/self/oom_score_adj");
}

static void redirect(const char *path, int flags, int target) {
  int fd = open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0) give_up(path);
  if (dup2(fd, target) < 0) give_up(path);
}

/* The job owns it, as it would own a pipe: it can open it once more by /dev/stdout or /proc/self/fd/1. */
static void redirect_log(const char *path, int target, const struct user *user) {
  redirect(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, target);
  if (fchown(target, user->uid, user->gid) != 0) give_up(path);
}

static void start(const char *directory, const struct user *user, char **command) {
  /* A group of its own: `kill 0` is the job's to use, and must not reach the supervisor. */
  if (setpgid(0, 0) != 0) give_up("cannot make a process group");
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  close(STATUS_FD);
  be_killed_first();
  become(user);
  if (chdir(directory) != 0) give_up(directory);
  execvp(command[0], command);
  fprintf(stderr, "floe: %s: %s\n", command[0], strerror(errno));
  _exit(errno == ENOENT ? NOT_FOUND : SETUP_FAILED);
}

/* In one write: whoever reads STATUS sees all of it or nothing. */
static int record(int status) {
  char text[64];
  int length = WIFSIGNALED(status) ? snprintf(text, sizeof text, "killed %d\n", WTERMSIG(status))
                                   : snprintf(text, sizeof text, "exited %d\n", WEXITSTATUS(status));
  return write(STATUS_FD, text, length) == length && fsync(STATUS_FD) == 0 ? 0 : STATUS_UNWRITABLE;
}

static int run(char **arguments) {
  static struct user user;
  read_user(&user, arguments + 4);
  setsid();
  prctl(PR_SET_NAME, "floe-supervisor");
  redirect("/dev/null", O_RDONLY, STDIN_FILENO);
  redirect_log(arguments[2], STDERR_FILENO, &user);
  redirect_log(arguments[1], STDOUT_FILENO, &user);
  redirect(arguments[0], O_WRONLY | O_CREAT | O_EXCL, STATUS_FD);
  if (syscall(SYS_close_range, STATUS_FD + 1, ~0U, 0) != 0) give_up("cannot close inherited files");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up("cannot become subreaper");
  if (chdir("/") != 0) give_up("/");
  close_the_way_up();
  pid_t job = fork();
  if (job < 0) give_up("cannot fork");
  if (job == 0) start(arguments[3], &user, arguments + 7);
  drop_capabilities();
  for (;;) {
    int status;
    pid_t ended = waitpid(-1, &status, 0);
    if (ended < 0 && errno != EINTR) return STATUS_UNWRITABLE;
    if (ended == job) return record(status);
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
  if (count >= 10 && strcmp(arguments[1], "run") == 0) return run(arguments + 2);
  if (count == 3 && strcmp(arguments[1], "wait") == 0) return wait_for(atoi(arguments[2]));
  fprintf(stderr, "usage: supervisor run STATUS STDOUT STDERR DIRECTORY UID GID GROUPS COMMAND [ARGUMENT ...]\n"
                  "       supervisor wait PID\n");
  return SETUP_FAILED;
}
