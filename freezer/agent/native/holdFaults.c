/*
 * Stands between `criu restore --lazy-pages` and the daemon of `criu lazy-pages`, and keeps a copy of what is sent: the
 * descriptors through which the job's missing pages are filled in (userfaultfd(2)).
 *
 *   hold-faults LISTEN CONNECT PID
 *
 * LISTEN and CONNECT are paths of UNIX sockets: where the restore connects, and where the daemon, the process PID, listens. It
 * prints "ready" once the restore may come.
 *
 * Why: when the last copy of such a descriptor is closed, the kernel takes every page that is still missing for one of zeros, and
 * the job would go on with them. With a copy here, the death of the daemon leaves the job waiting for its pages, until the agent
 * has ended the container. A copy that the daemon itself has closed while it goes on is let go, too: it is through with that
 * process, and what is missing there is zeros by right.
 *
 * Exit status: 0 when the daemon has closed them all, 1 when something failed (the reason is on standard error). It does not end by
 * itself when the daemon has ended: whether that was well is the agent's to know.
 *
 * What goes over the socket is CRIU's (send_uffd and lazy_pages_finish_restore in criu/uffd.c): for each process its id as an
 * int, negated for a zombie, and unless it is one a byte with the descriptor; at last the word FINISHED.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { FINISHED = 0x52535446, LOOK_EVERY_MS = 20, PF_EXITING = 4, AT_ONCE = 16 };

static int *held;
static size_t held_count;

static void fail(const char *what) {
  fprintf(stderr, "floe: cannot hold the faults of the job: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_un address_of(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) errno = ENAMETOOLONG, fail(path);
  strcpy(address.sun_path, path);
  return address;
}

static int new_socket(void) {
  int result = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (result < 0) fail("socket");
  return result;
}

static int accept_restore(const char *path) {
  struct sockaddr_un address = address_of(path);
  int listener = new_socket();
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) fail(path);
  puts("ready");
  fflush(stdout);
  int restore = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (restore < 0) fail("accept");
  close(listener);
  return restore;
}

static int connect_daemon(const char *path) {
  struct sockaddr_un address = address_of(path);
  int daemon = new_socket();
  if (connect(daemon, (struct sockaddr *)&address, sizeof address) != 0) fail(path);
  return daemon;
}

static void keep(int descriptor) {
  held = reallocarray(held, held_count + 1, sizeof *held);
  if (held == NULL) fail("memory");
  held[held_count++] = descriptor;
}

/* Takes the byte with its descriptors, keeps these, and passes both on. */
static void pass_descriptors(int restore, int daemon) {
  char byte;
  union {
    char bytes[CMSG_SPACE(AT_ONCE * sizeof(int))];
    struct cmsghdr align;
  } control;
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (recvmsg(restore, &message, MSG_CMSG_CLOEXEC) != 1) fail("the restore ended early");
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header == NULL || header->cmsg_type != SCM_RIGHTS) errno = EPROTO, fail("no descriptor");
  size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (size_t at = 0; at < count; at++) keep(((int *)(void *)CMSG_DATA(header))[at]);
  if (sendmsg(daemon, &message, MSG_NOSIGNAL) != 1) fail("the daemon ended early");
}

static void pass_all(int restore, int daemon) {
  for (int32_t word = 0; word != FINISHED;) {
    if (recv(restore, &word, sizeof word, MSG_WAITALL) != sizeof word) fail("the restore ended early");
    if (word > 0 && word != FINISHED) {
      if (send(daemon, &word, sizeof word, MSG_NOSIGNAL) != sizeof word) fail("the daemon ended early");
      pass_descriptors(restore, daemon);
    } else if (send(daemon, &word, sizeof word, MSG_NOSIGNAL) != sizeof word) fail("the daemon ended early");
  }
}

/* Anything else that fails must not be taken for it: a copy would be let go that is needed. */
static bool is_gone(void) { return errno == ENOENT || errno == ESRCH; }

/* Of a process that ends, the descriptors are closed before anybody is told that it has ended. */
static bool is_ending(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "re");
  if (file == NULL && is_gone()) return true;
  if (file == NULL) fail(path);
  size_t size = fread(text, 1, sizeof text - 1, file);
  bool is_over = ferror(file) && is_gone();
  if (ferror(file) && !is_over) fail(path);
  fclose(file);
  if (is_over) return true;
  text[size] = 0;
  const char *after_name = strrchr(text, ')');
  unsigned flags;
  if (after_name == NULL || sscanf(after_name, ") %*c %*d %*d %*d %*d %*d %u", &flags) != 1) errno = EPROTO, fail(path);
  return flags & PF_EXITING;
}

static bool is_open_in(pid_t pid, int descriptor) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *folder = opendir(path);
  if (folder == NULL && is_gone()) return false;
  if (folder == NULL) fail(path);
  bool found = false;
  for (struct dirent *entry; errno = 0, !found && (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    long order = syscall(SYS_kcmp, getpid(), pid, KCMP_FILE, (long)descriptor, atol(entry->d_name));
    if (order < 0 && errno != ESRCH && errno != EBADF) fail("kcmp");
    found = order == 0;
  }
  if (errno != 0 && !is_gone()) fail(path);
  closedir(folder);
  return found;
}

/* Returns when the daemon has closed all by itself. */
static void hold(pid_t pid) {
  while (held_count > 0) {
    poll(NULL, 0, LOOK_EVERY_MS);
    for (size_t at = held_count; at-- > 0;) {
      if (is_open_in(pid, held[at])) continue;
      if (is_ending(pid))
        for (;;) pause();
      close(held[at]);
      held[at] = held[--held_count];
    }
  }
}

int main(int count, char **arguments) {
  if (count != 4) return 1;
  int restore = accept_restore(arguments[1]);
  int daemon = connect_daemon(arguments[2]);
  pass_all(restore, daemon);
  /* The daemon sees the restore's end as it would without anybody between them. */
  close(restore);
  close(daemon);
  hold(atoi(arguments[3]));
  return 0;
}
