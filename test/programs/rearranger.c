/*
 * Rearranges its memory while that is being brought, and looks at every page of it.
 *
 *   rearranger MIB
 *
 * Fills regions of MIB MiB each with pages that are all different, says "ready", and waits until there is a file `on` in the working
 * directory. Then it unmaps, empties, moves and forks, all at once, and says "whole" if every page was what it should be; then it waits
 * until that file is gone, and says "whole" once more of what is left. What is wrong it says as a line with CORRUPT.
 *
 * Exit status: 0 when all was whole, 1 otherwise.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, BLOCK = 16 };
#define HUGE_BYTES (3UL << 30)

static size_t pages;
static bool is_corrupt;

static uint64_t *map(size_t size_bytes, int flags) {
  void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  return memory;
}

static uint64_t word(int region, size_t page, size_t at) {
  uint64_t value = ((uint64_t)region << 56) + page * WORDS + at + 1;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

static uint64_t *filled(int region) {
  uint64_t *memory = map(pages * PAGE, 0);
  for (size_t page = 0; page < pages; page++)
    for (size_t at = 0; at < WORDS; at++) memory[page * WORDS + at] = word(region, page, at);
  return memory;
}

static void corrupt(const char *what, int region, size_t page) {
  is_corrupt = true;
  printf("CORRUPT %s: page %zu of region %d\n", what, page, region);
}

static void look(const char *what, int region, const uint64_t *memory, size_t first, size_t end) {
  for (size_t page = first; page < end; page++)
    for (size_t at = 0; at < WORDS; at++)
      if (memory[page * WORDS + at] != word(region, page, at)) {
        corrupt(what, region, page);
        break;
      }
}

static void look_for_zeros(const char *what, int region, const uint64_t *memory, size_t first, size_t end) {
  static const char zeros[PAGE];
  for (size_t page = first; page < end; page++)
    if (memcmp(memory + page * WORDS, zeros, PAGE) != 0) corrupt(what, region, page);
}

/* Of what is kept of it all the middle is gone. */
static uint64_t *unmapped;
static void *unmap(void *ignored) {
  munmap(unmapped, 7 * PAGE);
  munmap(unmapped + pages / 3 * WORDS, pages / 3 * PAGE);
  look("unmapped in part", 1, unmapped, 7, pages / 3);
  look("unmapped in part", 1, unmapped, pages / 3 * 2, pages);
  return ignored;
}

/* Every second block, from the end, as allocators give memory back. */
static uint64_t *emptied;
static bool is_empty(size_t page) { return page / BLOCK % 2 == 1; }
static void look_at_emptied(void) {
  for (size_t page = 0; page < pages; page++)
    if (is_empty(page)) look_for_zeros("emptied", 2, emptied, page, page + 1);
    else look("beside what is emptied", 2, emptied, page, page + 1);
}
static void *empty(void *ignored) {
  for (size_t page = pages; page-- > 0;)
    if (is_empty(page) && page % BLOCK == 0) madvise(emptied + page * WORDS, BLOCK * PAGE, MADV_DONTNEED);
  look_at_emptied();
  return ignored;
}

/* Its front half moves again and again, as that of an array that grows; the back half moves once, into the midst of another region. */
static uint64_t *moved_front, *moved_back, *host;
static void *move(void *ignored) {
  size_t half = pages / 2, size_bytes = half * PAGE;
  moved_back = mremap(moved_front + half * WORDS, (pages - half) * PAGE, (pages - half) * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, host + WORDS);
  if (moved_back == MAP_FAILED) err(1, "mremap");
  for (int times = 1; times <= 8; times++) {
    uint64_t *to = map(size_bytes + (times + 1) * PAGE, 0);
    moved_front = mremap(moved_front, size_bytes + (times - 1) * PAGE, size_bytes + times * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (moved_front == MAP_FAILED) err(1, "mremap");
    look("moved", 3, moved_front, half / 8 * (times - 1), half / 8 * times);
    look_for_zeros("behind what is moved", 3, moved_front, half, half + times);
  }
  look("moved into another", 3, moved_back - half * WORDS, half, pages);
  return ignored;
}

/* Children look at all of it, some of them at once, while their parent writes to it. Some end early. */
static uint64_t *inherited;
static void *forks(void *ignored) {
  for (int round = 0; round < 6; round++) {
    pid_t looks = fork();
    if (looks == 0) {
      if (round % 2 == 0 && fork() == 0) _exit(0);
      look("inherited", 4, inherited, 0, pages);
      _exit(is_corrupt);
    }
    pid_t ends = fork();
    if (ends == 0) _exit(round);
    pid_t executes = fork();
    if (executes == 0) _exit(execl("/proc/self/exe", "rearranger", NULL));
    for (int child = 0; child < 3; child++) {
      int status;
      pid_t pid = wait(&status);
      if (pid == looks && status != 0) corrupt("inherited by a child that says so", 4, 0);
    }
    look("inherited by its parent", 4, inherited, pages / 6 * round, pages / 6 * (round + 1));
  }
  return ignored;
}

/* More than an int counts. */
static uint64_t *huge;
static void *unmap_huge(void *ignored) {
  munmap(huge, HUGE_BYTES);
  /* There, unless another thread was quicker. */
  uint64_t *again = mmap(huge, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (again == MAP_FAILED) err(1, "mmap");
  look_for_zeros("mapped anew", 5, again, 0, pages);
  return ignored;
}

/* Every fourth page from the end. */
static uint64_t *read_only;
static void *protect_and_read(void *ignored) {
  for (size_t page = pages; page-- > 0;) {
    if (page % 4 != 0) continue;
    mprotect(read_only + page * WORDS, PAGE, PROT_READ);
    look("protected", 6, read_only, page, page + 1);
  }
  look("protected in part", 6, read_only, 0, pages);
  return ignored;
}

static void all_at_once(void) {
  void *(*const work[])(void *) = {unmap, empty, move, forks, unmap_huge, protect_and_read};
  enum { COUNT = sizeof work / sizeof work[0] };
  pthread_t threads[COUNT];
  for (int at = 0; at < COUNT; at++)
    if (pthread_create(&threads[at], NULL, work[at], NULL) != 0) errx(1, "pthread_create");
  for (int at = 0; at < COUNT; at++) pthread_join(threads[at], NULL);
}

static void look_at_all(void) {
  look("unmapped in part, afterwards", 1, unmapped, 7, pages / 3);
  look("unmapped in part, afterwards", 1, unmapped, pages / 3 * 2, pages);
  look_at_emptied();
  look("moved, afterwards", 3, moved_front, 0, pages / 2);
  look("moved into another, afterwards", 3, moved_back - pages / 2 * WORDS, pages / 2, pages);
  look("inherited, afterwards", 4, inherited, 0, pages);
  look("protected, afterwards", 6, read_only, 0, pages);
  look("host", 7, host, 0, 1);
  look("host", 7, host, 1 + pages - pages / 2, pages);
}

static void await(bool is_on) {
  while ((access("on", F_OK) == 0) != is_on) usleep(1000);
}

int main(int count, char **arguments) {
  if (count < 2) return 0;
  setvbuf(stdout, NULL, _IOLBF, 0);
  pages = strtoul(arguments[1], NULL, 10) * 256;
  unmapped = filled(1);
  emptied = filled(2);
  moved_front = filled(3);
  inherited = filled(4);
  huge = map(HUGE_BYTES, 0);
  for (size_t page = 0; page < pages; page++) huge[page * WORDS] = huge[HUGE_BYTES / 8 - (page + 1) * WORDS] = page + 1;
  read_only = filled(6);
  host = filled(7);
  puts("ready");
  await(true);
  all_at_once();
  puts(is_corrupt ? "broken" : "whole");
  await(false);
  look_at_all();
  puts(is_corrupt ? "broken" : "whole");
  return is_corrupt;
}
