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
 *       What the job writes comes through pipes, and the supervisor appends it to STDOUT and STDERR: they are the supervisor's own,
 *       so the job cannot truncate them (`echo > /dev/stderr`) nor change what it has said. Where they cannot be written
 *       to for want of space, the job waits.
 *       Everything the job leaves behind is reparented to the supervisor, so no process slips out of the tree that
 *       CRIU dumps. Exit status: 0 when STATUS was written, 125 when it could not be, 126 when the job could not be
 *       set up (the reason is on STDERR). A COMMAND that cannot be executed is reported as "exited 127" or "exited 126",
 *       as a shell would, and " REASON" after that where no other try could go better.
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
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS_UNWRITABLE = 125, SETUP_FAILED = 126, NOT_FOUND = 127 };
enum { STATUS_FD = 3 };
enum { KILLED_FIRST_BY = 500, OOM_SCORE_MAX = 1000 };
enum { LOG_COUNT = 2, SPACE_LOOK_MS = 1000 };
enum { REASON_SIZE = 512 };

/* A log and the pipe that what belongs in it comes through. */
struct stream {
  int log;
  int pipe; /* -1 once nobody can write to it any more */
};

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

/* Whether an error is about the program or its folder, and not about what the machine has at the moment. */
static int is_for_good(int error) {
  const int for_good[] = {E2BIG, EACCES, EINVAL, EISDIR, ELIBBAD, ELOOP, ENAMETOOLONG, ENOENT, ENOEXEC, ENOTDIR, EPERM};
  for (size_t at = 0; at < sizeof for_good / sizeof *for_good; at++)
    if (error == for_good[at]) return 1;
  return 0;
}

/* In the child that was to become COMMAND: says on its stderr why it cannot, and to the supervisor if that is for good. */
static void cannot_start(const char *what, int exit_code) {
  int error = errno;
  char reason[REASON_SIZE];
  snprintf(reason, sizeof reason, "%.400s: %s", what, strerror(error));
  fprintf(stderr, "floe: %s\n", reason);
  if (is_for_good(error) && write(STATUS_FD, reason, strlen(reason)) < 0) _exit(SETUP_FAILED);
  _exit(exit_code);
}

/* What `cannot_start` told, on one line; empty when COMMAND runs, which closes the pipe. */
static void read_reason(int pipe, char reason[static REASON_SIZE]) {
  ssize_t count;
  while ((count = read(pipe, reason, REASON_SIZE - 1)) < 0 && errno == EINTR) {}
  reason[count < 0 ? 0 : count] = 0;
  for (char *at = reason; *at; at++)
    if ((unsigned char)*at < ' ') *at = '?';
  close(pipe);
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

/*
 * A job of the same user could else open the supervisor's files once more through /proc, its memory too. Lasts until an execve, so the
 * job itself is not concerned; CRIU dumps and restores it.
 */
static void close_proc(void) {
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) give_up("cannot close /proc");
}

/* From here on the process and its children can gain nothing, though they still have what they have. */
static void close_the_way_up(void) {
  for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
    if (prctl(PR_CAPBSET_DROP, cap) != 0) give_up("cannot empty the bounding set");
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
  char text[16] = "";
  int file = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (file < 0 || read(file, text, sizeof text - 1) < 0) give_up("/proc/self/oom_score_adj");
  int score = atoi(text) + KILLED_FIRST_BY;
  int length = snprintf(text, sizeof text, "%d", score < OOM_SCORE_MAX ? score : OOM_SCORE_MAX);
  if (pwrite(file, text, length, 0) != length || close(file) != 0) give_up("/proc/self/oom_score_adj");
}

/* Without space the job waits, in this machine's container or, after a move, in another's. */
static int append(int log, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(log, bytes, size);
    if (written >= 0) bytes += written, size -= written;
    else if (errno == ENOSPC || errno == EDQUOT) poll(NULL, 0, SPACE_LOOK_MS);
    else if (errno != EINTR) return -1;
  }
  return 0;
}

/* Moves what the pipe has, at most a buffer full, so that neither the other stream nor the job's end has to wait. */
static int relay(struct stream *stream) {
  static char buffer[65536];
  ssize_t size = read(stream->pipe, buffer, sizeof buffer);
  if (size > 0) return append(stream->log, buffer, size);
  if (size < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
  close(stream->pipe);
  stream->pipe = -1;
  return 0;
}

/* What is in the pipe now: all that a job that has ended wrote. What it has left behind may go on writing for ever. */
static int drain(struct stream *stream) {
  int size = 0;
  if (stream->pipe < 0 || ioctl(stream->pipe, FIONREAD, &size) != 0) return stream->pipe < 0 ? 0 : -1;
  for (int left = size; left > 0; left -= 65536)
    if (stream->pipe >= 0 && relay(stream) != 0) return -1;
  return 0;
}

/* The job owns its end, so it can open it once more by /dev/stdout or /proc/self/fd/1, whoever it is. */
static int open_pipe(struct stream *stream, const struct user *user) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) give_up("cannot make a pipe");
  if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) give_up("cannot make a pipe");
  if (fchown(ends[1], user->uid, user->gid) != 0) give_up("cannot give the job its output");
  stream->pipe = ends[0];
  return ends[1];
}

static void redirect(const char *path, int flags, int target) {
  int fd = open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0) give_up(path);
  if (dup2(fd, target) < 0) give_up(path);
}

static void start(const char *directory, const struct user *user, const int *outputs, int report, char **command) {
  /* A group of its own: `kill 0` is the job's to use, and must not reach the supervisor. */
  if (setpgid(0, 0) != 0) give_up("cannot make a process group");
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
  if (dup2(outputs[0], STDOUT_FILENO) < 0 || dup2(outputs[1], STDERR_FILENO) < 0) give_up("cannot redirect its output");
  /* In the place of STATUS, which is the supervisor's alone. */
  if (dup3(report, STATUS_FD, O_CLOEXEC) < 0) give_up("cannot keep the way to the supervisor");
  if (syscall(SYS_close_range, STATUS_FD + 1, ~0U, 0) != 0) give_up("cannot close the supervisor's files");
  be_killed_first();
  become(user);
  if (chdir(directory) != 0) cannot_start(directory, SETUP_FAILED);
  execvp(command[0], command);
  cannot_start(command[0], errno == ENOENT ? NOT_FOUND : SETUP_FAILED);
}

/* In one write: whoever reads STATUS sees all of it or nothing. */
static int record(int status, const char *reason) {
  char text[REASON_SIZE + 32];
  const char *space = *reason ? " " : "";
  int length = WIFSIGNALED(status)
                   ? snprintf(text, sizeof text, "killed %d\n", WTERMSIG(status))
                   : snprintf(text, sizeof text, "exited %d%s%s\n", WEXITSTATUS(status), space, reason);
  return write(STATUS_FD, text, length) == length && fsync(STATUS_FD) == 0 ? 0 : STATUS_UNWRITABLE;
}

static void wake_up(int number) { (void)number; }

/* Relays until the job has ended, and records how. */
static int supervise(pid_t job, struct stream *streams, const char *reason) {
  sigset_t none;
  sigemptyset(&none);
  for (;;) {
    int status;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended != job) continue;
      for (int at = 0; at < LOG_COUNT; at++)
        if (drain(&streams[at]) != 0) return STATUS_UNWRITABLE;
      return record(status, reason);
    }
    struct pollfd entries[LOG_COUNT];
    for (int at = 0; at < LOG_COUNT; at++) entries[at] = (struct pollfd){streams[at].pipe, POLLIN, 0};
    /* A child that ended since waitpid has its signal pending, and ends this at once. */
    if (ppoll(entries, LOG_COUNT, NULL, &none) < 0 && errno != EINTR) return STATUS_UNWRITABLE;
    for (int at = 0; at < LOG_COUNT; at++)
      if (entries[at].revents != 0 && relay(&streams[at]) != 0) return STATUS_UNWRITABLE;
  }
}

static int run(char **arguments) {
  static struct user user;
  read_user(&user, arguments + 4);
  setsid();
  prctl(PR_SET_NAME, "floe-supervisor");
  close_proc();
  redirect("/dev/null", O_RDONLY, STDIN_FILENO);
  redirect(arguments[2], O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, STDERR_FILENO);
  redirect(arguments[1], O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, STDOUT_FILENO);
  redirect(arguments[0], O_WRONLY | O_CREAT | O_EXCL, STATUS_FD);
  if (syscall(SYS_close_range, STATUS_FD + 1, ~0U, 0) != 0) give_up("cannot close inherited files");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up("cannot become subreaper");
  if (chdir("/") != 0) give_up("/");
  struct stream streams[LOG_COUNT] = {{STDOUT_FILENO, -1}, {STDERR_FILENO, -1}};
  const int outputs[LOG_COUNT] = {open_pipe(&streams[0], &user), open_pipe(&streams[1], &user)};
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  if (sigprocmask(SIG_BLOCK, &child, NULL) != 0 || signal(SIGCHLD, wake_up) == SIG_ERR) give_up("cannot watch the job");
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) give_up("cannot make a pipe");
  close_the_way_up();
  pid_t job = fork();
  if (job < 0) give_up("cannot fork");
  if (job == 0) start(arguments[3], &user, outputs, report[1], arguments + 7);
  for (int at = 0; at < LOG_COUNT; at++) close(outputs[at]);
  close(report[1]);
  drop_capabilities();
  static char reason[REASON_SIZE];
  read_reason(report[0], reason);
  return supervise(job, streams, reason);
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
