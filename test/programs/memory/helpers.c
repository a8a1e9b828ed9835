/*
 * The reference job's modes: the threads and processes that take a step together, and what runs between them.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_HELPERS = 4, SHARED_PAGES = 256 };

/* Where helpers and the main thread meet: it announces a step, they answer with their digests. */
struct meeting {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  uint64_t step;
  int answers;
  uint64_t digests[MAX_HELPERS];
};

static struct slice slices[MAX_HELPERS];
static int helpers;
static struct meeting *meeting;
static struct slice between;       /* tree: shared anonymous memory, written by helper 0, verified by all */
static uint64_t *segment;          /* tree: POSIX shared memory, one digest per helper */
static char segment_name[64];
static int orders[MAX_HELPERS][2]; /* tree: step numbers to a helper */
static int answers[2];             /* tree: digests from the helpers, tagged with their number */

/* Gives each of `count` helpers its part of the memory. */
static void divide(uint64_t *words, size_t pages, int count, uint64_t seed) {
  for (int i = 0; i < count; i++) {
    size_t from = pages * i / count, to = pages * (i + 1) / count;
    slices[i] = (struct slice){words + from * PAGE_WORDS, to - from, seed + i, seed + i};
    write_pages(&slices[i], 0, slices[i].pages, 0);
  }
}

/* --- Helpers that meet at a condition variable: threads and shared ------------------------------------------------- */

static void open_meeting(void) {
  pthread_mutexattr_t mutex;
  pthread_condattr_t changed;
  meeting = map_memory(sizeof *meeting, MAP_SHARED);
  pthread_mutexattr_init(&mutex);
  pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&meeting->mutex, &mutex);
  pthread_condattr_init(&changed);
  pthread_condattr_setpshared(&changed, PTHREAD_PROCESS_SHARED);
  pthread_cond_init(&meeting->changed, &changed);
}

static void *attend_meeting(void *number) {
  int self = (int)(intptr_t)number;
  for (uint64_t step = 1;; step++) {
    pthread_mutex_lock(&meeting->mutex);
    while (meeting->step < step) pthread_cond_wait(&meeting->changed, &meeting->mutex);
    pthread_mutex_unlock(&meeting->mutex);
    uint64_t digest = work(&slices[self], step);
    pthread_mutex_lock(&meeting->mutex);
    if (meeting->step != step) corrupt("step %lu is %lu for helper %d", meeting->step, step, self);
    meeting->digests[self] = digest;
    meeting->answers++;
    pthread_cond_broadcast(&meeting->changed);
    pthread_mutex_unlock(&meeting->mutex);
  }
  return NULL;
}

static uint64_t hold_meeting(uint64_t step) {
  uint64_t digest = step;
  pthread_mutex_lock(&meeting->mutex);
  meeting->step = step;
  meeting->answers = 0;
  pthread_cond_broadcast(&meeting->changed);
  while (meeting->answers < helpers) pthread_cond_wait(&meeting->changed, &meeting->mutex);
  for (int i = 0; i < helpers; i++) digest = mix(digest ^ meeting->digests[i]);
  pthread_mutex_unlock(&meeting->mutex);
  /* What another thread or process wrote must be what this one sees. */
  return mix(digest ^ verify_part(&slices[step % helpers], step));
}

/* --- Helpers at the end of pipes: tree ----------------------------------------------------------------------------- */

struct answer {
  int helper;
  uint64_t step, digest;
};

static void obey_orders(int self) {
  uint64_t step;
  for (int i = 0; i < helpers; i++) close(orders[i][1]);
  ssize_t size;
  while ((size = read(orders[self][0], &step, sizeof step)) == sizeof step) {
    if (self == 0) rewrite_part(&between, step);
    uint64_t digest = work(&slices[self], step);
    segment[self] = digest;
    struct answer answer = {self, step, digest};
    if (write(answers[1], &answer, sizeof answer) != sizeof answer) give_up("answer");
  }
  if (size != 0) corrupt("helper %d read %zd bytes of an order: %s", self, size, strerror(errno));
  _exit(0);
}

static uint64_t order_step(uint64_t step) {
  uint64_t digests[MAX_HELPERS], digest = work(&slices[helpers], step);
  for (int i = 0; i < helpers; i++)
    if (write(orders[i][1], &step, sizeof step) != sizeof step) give_up("order");
  for (int i = 0; i < helpers; i++) {
    struct answer answer;
    if (read(answers[0], &answer, sizeof answer) != sizeof answer) give_up("read answer");
    if (answer.step != step) corrupt("helper %d answers for step %lu in step %lu", answer.helper, answer.step, step);
    digests[answer.helper] = answer.digest;
  }
  for (int i = 0; i < helpers; i++) {
    if (segment[i] != digests[i]) corrupt("step %lu: the shared segment disagrees with helper %d's answer", step, i);
    digest = mix(digest ^ digests[i]);
  }
  return mix(digest ^ verify_part(&between, step));
}

static void open_tree(uint64_t seed) {
  between = (struct slice){map_memory(SHARED_PAGES * PAGE_BYTES, MAP_SHARED), SHARED_PAGES, ~seed, ~seed};
  write_pages(&between, 0, between.pages, 0);
  snprintf(segment_name, sizeof segment_name, "/floe-memory-%d", getpid());
  int fd = shm_open(segment_name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || ftruncate(fd, 4096) != 0) give_up("shm_open");
  segment = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (segment == MAP_FAILED) give_up("mmap of the shared segment");
  close(fd);
  if (pipe(answers) != 0) give_up("pipe");
  for (int i = 0; i < helpers; i++)
    if (pipe(orders[i]) != 0) give_up("pipe");
}

/* --- Starting and ending helpers ----------------------------------------------------------------------------------- */

static pid_t children[MAX_HELPERS];

static void child_ended(int signal, siginfo_t *end, void *context) {
  (void)signal, (void)context;
  corrupt("helper process %d ended early: si_code %d, status %d", end->si_pid, end->si_code, end->si_status);
}

static void fork_helper(int self) {
  children[self] = fork();
  if (children[self] < 0) give_up("fork");
  if (children[self] > 0) return;
  signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (segment) obey_orders(self);
  attend_meeting((void *)(intptr_t)self);
}

static void start_processes(void) {
  /* Without SA_NOCLDSTOP: a stop would be heard too, and there must be none that the program can notice. */
  struct sigaction action = {.sa_sigaction = child_ended, .sa_flags = SA_SIGINFO};
  sigaction(SIGCHLD, &action, NULL);
  for (int i = 0; i < helpers; i++) fork_helper(i);
}

void end_processes(void) {
  signal(SIGCHLD, SIG_DFL);
  for (int i = 0; i < helpers && children[i]; i++) kill(children[i], SIGKILL);
  for (int i = 0; i < helpers && children[i]; i++) waitpid(children[i], NULL, 0);
  if (segment) shm_unlink(segment_name);
}

static void start_threads(void) {
  pthread_t thread;
  for (int i = 0; i < helpers; i++)
    if ((errno = pthread_create(&thread, NULL, attend_meeting, (void *)(intptr_t)i)) != 0) give_up("pthread_create");
}

static uint64_t work_alone(uint64_t step) { return work(&slices[0], step); }

/* Prepares the memory and the helpers of a mode; returns what takes its steps. */
uint64_t (*start_mode(const char *mode, size_t pages, uint64_t seed))(uint64_t) {
  uint64_t *words = map_memory(pages * PAGE_BYTES, strcmp(mode, "shared") == 0 ? MAP_SHARED : MAP_PRIVATE);
  if (strcmp(mode, "plain") == 0 || strcmp(mode, "random") == 0) {
    compressible = mode[0] == 'p';
    divide(words, pages, 1, seed);
    return work_alone;
  }
  helpers = strcmp(mode, "threads") == 0 ? 4 : 3;
  if (strcmp(mode, "tree") == 0) {
    divide(words, pages, 1, seed);
    for (int i = helpers; i >= 0; i--) slices[i] = (struct slice){words, pages, seed, seed + i};
    open_tree(seed);
    start_processes();
    return order_step;
  }
  divide(words, pages, helpers, seed);
  open_meeting();
  if (strcmp(mode, "threads") == 0) start_threads();
  else start_processes();
  return hold_meeting;
}
