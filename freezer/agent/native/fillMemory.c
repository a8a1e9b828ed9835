/*
 * Fills the memory of a job that `criu restore --lazy-pages` starts without it.
 *
 *   fill-memory LISTEN
 *
 * LISTEN is the path of the UNIX socket where the restore connects. Standard input is a connection to the engine, which has the
 * memory. It prints "ready" once the restore may come, and ends with 0 when all memory is there.
 *
 * Why two processes: when the last copy of a descriptor is closed through which missing pages are filled in (userfaultfd(2)), the
 * kernel takes every page that is still missing for one of zeros, and the job would go on with them. So the process that was started
 * only keeps the table of descriptors, which it shares with a child that does the work. Where the child ends in any other way than
 * well, it prints "failed" and goes on to keep them: the job waits for its pages until the agent has ended the container.
 *
 * What comes from the restore is CRIU's (send_uffd and lazy_pages_finish_restore in criu/uffd.c): for each process its id as an int,
 * negated for a zombie, and unless it is one a byte with the descriptor; at last the word FINISHED.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fillMessages.h"
#include "filledProcesses.h"

enum { FINISHED = 0x52535446, AT_ONCE = 16 };
/* The words by which epoll(7) knows them; those of the processes begin behind (FIRST_PROCESS). */
enum { ENGINE, RESTORE };

static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) errx(1, "%s is too long", path);
  strcpy(address.sun_path, path);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0)
    err(1, "%s", path);
  return listener;
}

static void await_engine(short events) {
  struct pollfd engine = {.fd = STDIN_FILENO, .events = events};
  if (poll(&engine, 1, -1) < 0 && errno != EINTR) err(1, "poll");
}

static void receive_ranges(void) {
  const uint8_t *content;
  for (struct message message = {0}; message.kind != RANGES_END;) {
    if (!receive_message(&message, &content)) await_engine(POLLIN);
    else if (message.kind == RANGE) expect_pages(message.process, message.address, message.pages);
    else if (message.kind != RANGES_END) errx(1, "the engine says %u", message.kind);
  }
}

static void watch(int epoll, int operation, int descriptor, uint64_t name, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u64 = name};
  if (epoll_ctl(epoll, operation, descriptor, &event) != 0) err(1, "epoll");
}

static int receive_descriptor(int restore) {
  char byte;
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (recvmsg(restore, &message, MSG_CMSG_CLOEXEC) != 1) err(1, "the restore ended early");
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header == NULL || header->cmsg_type != SCM_RIGHTS) errx(1, "the restore sent no descriptor");
  int descriptor;
  memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  return descriptor;
}

/* One word. Whether it was the last one. */
static bool hear_restore(int restore, int epoll) {
  int32_t word;
  ssize_t size = recv(restore, &word, sizeof word, MSG_WAITALL);
  /* It has failed. Why, CRIU tells the agent, which ends the container. */
  while (size == 0) pause();
  if (size != sizeof word) err(1, "the restore");
  if (word == FINISHED) close(restore);
  else if (word > 0) attach_process(word, receive_descriptor(restore), epoll);
  return word == FINISHED;
}

static void hear_engine(void) {
  struct message message;
  const uint8_t *content;
  if (!receive_message(&message, &content)) return;
  if (message.kind != PAGES) errx(1, "the engine says %u", message.kind);
  place_answer(message.process, message.address, content, message.pages);
}

static void fill(int restore) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) err(1, "epoll");
  watch(epoll, EPOLL_CTL_ADD, restore, RESTORE, EPOLLIN);
  watch(epoll, EPOLL_CTL_ADD, STDIN_FILENO, ENGINE, EPOLLIN);
  for (bool is_restored = false; !release_processes(is_restored) || !is_restored;) {
    if (is_restored) ask_ahead();
    watch(epoll, EPOLL_CTL_MOD, STDIN_FILENO, ENGINE, send_waiting() ? EPOLLIN : EPOLLIN | EPOLLOUT);
    struct epoll_event events[AT_ONCE];
    int count = epoll_wait(epoll, events, AT_ONCE, -1);
    if (count < 0 && errno != EINTR) err(1, "epoll");
    for (int at = 0; at < count; at++) {
      uint64_t name = events[at].data.u64;
      if (name == ENGINE) hear_engine();
      else if (name == RESTORE) is_restored = hear_restore(restore, epoll);
      else process_has_events(name);
    }
  }
  send_message((struct message){.kind = DONE});
  while (!send_waiting()) await_engine(POLLOUT);
  /* What is still under way is not needed; to leave before it is through would be a failure to the engine. */
  while (!engine_has_left()) await_engine(POLLIN);
}

static void work(const char *path) {
  int listener = listen_at(path);
  receive_ranges();
  puts("ready");
  fflush(stdout);
  int restore = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (restore < 0) err(1, "accept");
  close(listener);
  fill(restore);
}

/* One for each process of the job, and for each that these fork meanwhile. */
static void allow_many_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) err(1, "getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) err(1, "setrlimit");
}

int main(int count, char **arguments) {
  if (count != 2) return 1;
  allow_many_descriptors();
  pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
  if (child < 0) err(1, "clone");
  if (child == 0) {
    work(arguments[1]);
    return 0;
  }
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) err(1, "waitpid");
  if (status == 0) return 0;
  puts("failed");
  fflush(stdout);
  for (;;) pause();
}
