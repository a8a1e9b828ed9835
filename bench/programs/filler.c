/*
 * The program that the benchmark freezes and thaws: memory full of content that it knows, and a clock that shows when it ran.
 *
 *   filler STATE BYTES compressible|incompressible
 *
 * STATE is a file that it makes and maps, and by which it is spoken to (`struct state`, little-endian, also in bench/filler.ts):
 * whoever wants something writes `kind`, then the next number to `request`, and waits until `answered` has that number.
 *
 *   CHANGE  writes new content to the pages whose numbers (8 bytes each) are in the file `STATE.pages`
 *   SWEEP   reads the first word of every page, in order
 *   VERIFY  reads all of every page
 *
 * `wrong` is then the number of pages that did not have the content they should have. A thread looks at the clock every millisecond
 * and notes each pause of 10 ms or more in a ring, so that one sees from outside for how long the program stood still, and when
 * it ran again. Exit status: 1 when something fails, with the reason on stderr; else it runs until it is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_WORDS = 512, PAGE_BYTES = 4096, PAUSES = 1000, PAUSE_NS = 10000000, LOOK_NS = 1000000 };
enum { CHANGE = 1, SWEEP = 2, VERIFY = 3 };
/* Of 56 bytes, so many words are random and the rest one of a few patterns: `zstd -1` packs that to about a third. */
enum { RECORD_WORDS = 7, RANDOM_WORDS = 2, PATTERNS = 16 };

struct state {
  uint64_t request, kind, answered;
  uint64_t took_ns, wrong;
  uint64_t base, pages; /* where the memory is; `pages` is 0 until it is full */
  uint64_t pauses;      /* so far; number N is in pause[N % PAUSES] */
  struct { uint64_t ended_ns, length_ns; } pause[PAUSES]; /* since 1970 */
};

static volatile struct state *state;
static uint64_t (*memory)[PAGE_WORDS], pages;
static uint8_t *versions; /* of each page: how often it has been changed */
static int is_compressible;

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

/* splitmix64 */
static uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static uint64_t first_word(uint64_t number) { return mix(number << 8 | versions[number]); }

static void write_page(uint64_t *page, uint64_t number) {
  uint64_t word = first_word(number);
  for (int at = 0; at < PAGE_WORDS; at++) {
    int is_random = !is_compressible || at % RECORD_WORDS < RANDOM_WORDS;
    uint64_t pattern = page[at - at % RECORD_WORDS] % PATTERNS;
    page[at] = is_random ? word : mix(pattern * RECORD_WORDS + at % RECORD_WORDS);
    if (is_random) word = mix(word);
  }
}

static void change(const char *list) {
  int file = open(list, O_RDONLY);
  if (file < 0) give_up(list);
  uint64_t number;
  while (read(file, &number, sizeof number) == sizeof number) {
    if (number >= pages) continue;
    versions[number]++;
    write_page(memory[number], number);
  }
  close(file);
}

static uint64_t sweep(void) {
  uint64_t wrong = 0;
  for (uint64_t number = 0; number < pages; number++)
    wrong += *(volatile uint64_t *)memory[number] != first_word(number);
  return wrong;
}

static uint64_t verify(void) {
  static uint64_t wanted[PAGE_WORDS];
  uint64_t wrong = 0;
  for (uint64_t number = 0; number < pages; number++) {
    write_page(wanted, number);
    wrong += memcmp(wanted, memory[number], PAGE_BYTES) != 0;
  }
  return wrong;
}

static void *watch_clock(void *unused) {
  const struct timespec look = {.tv_nsec = LOOK_NS};
  uint64_t last = now_ns(CLOCK_REALTIME);
  for (;;) {
    nanosleep(&look, NULL);
    uint64_t now = now_ns(CLOCK_REALTIME);
    if (now - last >= PAUSE_NS) {
      uint64_t count = state->pauses;
      state->pause[count % PAUSES].ended_ns = now;
      state->pause[count % PAUSES].length_ns = now - last;
      __sync_synchronize();
      state->pauses = count + 1;
    }
    last = now;
  }
  return unused;
}

static void answer_requests(const char *list) {
  const struct timespec look = {.tv_nsec = LOOK_NS};
  for (;; nanosleep(&look, NULL)) {
    uint64_t request = state->request, wrong = 0;
    if (request == state->answered) continue;
    uint64_t started = now_ns(CLOCK_REALTIME);
    if (state->kind == CHANGE) change(list);
    if (state->kind == SWEEP) wrong = sweep();
    if (state->kind == VERIFY) wrong = verify();
    state->took_ns = now_ns(CLOCK_REALTIME) - started;
    state->wrong = wrong;
    __sync_synchronize();
    state->answered = request;
  }
}

/* CRIU finds no file that was opened outside of the container. */
static void let_go_of_caller(void) {
  setsid();
  int nothing = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++)
    if (nothing < 0 || dup2(nothing, fd) < 0) give_up("/dev/null");
  if (nothing > 2) close(nothing);
}

static void *map(uint64_t bytes, int flags, int file) {
  void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
  if (mapped == MAP_FAILED) give_up("mmap");
  return mapped;
}

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: filler STATE BYTES compressible|incompressible\n");
    return 1;
  }
  static char list[4096];
  snprintf(list, sizeof list, "%s.pages", arguments[1]);
  pages = strtoull(arguments[2], NULL, 10) / PAGE_BYTES;
  is_compressible = strcmp(arguments[3], "compressible") == 0;
  int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof *state) != 0) give_up(arguments[1]);
  state = map(sizeof *state, MAP_SHARED, file);
  memory = map(pages * PAGE_BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  versions = map(pages, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  close(file);
  let_go_of_caller();
  for (uint64_t number = 0; number < pages; number++) write_page(memory[number], number);
  state->base = (uint64_t)memory;
  pthread_t watcher;
  if (pthread_create(&watcher, NULL, watch_clock, NULL) != 0) give_up("pthread_create");
  __sync_synchronize();
  state->pages = pages;
  answer_requests(list);
}
