/* What the parts of the reference job share. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Prints "CORRUPT …" to stdout and ends the process with status 3. */
void corrupt(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Prints the reason of errno to stderr and ends the process with status 2. */
void give_up(const char *what) __attribute__((noreturn));

/* --- pages.c --- */

enum { PAGE_WORDS = 512, PAGE_BYTES = 4096 };

/* A run of pages. They hold the pattern of `seed` until they are first rewritten, then that of `writer`. */
struct slice {
  uint64_t *words;
  size_t pages;
  uint64_t seed, writer;
};

/* 1: three words in four are the same all over a page; 0: all are as good as random. */
extern int compressible;

uint64_t mix(uint64_t x);

/* New anonymous memory; `sharing` is MAP_PRIVATE or MAP_SHARED. */
void *map_memory(size_t size, int sharing);

/* Writes what pages [from, to) hold after a step. */
void write_pages(const struct slice *slice, size_t from, size_t to, uint64_t step);

/* Rewrites the pages whose turn it is in this step. */
void rewrite_part(const struct slice *slice, uint64_t step);

/* Verifies the pages whose turn it is; returns a digest of them. */
uint64_t verify_part(const struct slice *slice, uint64_t step);

/* Both. */
uint64_t work(const struct slice *slice, uint64_t step);

/* --- helpers.c --- */

/* Prepares the memory, threads and processes of a mode. Returns what takes its steps: step number in, digest out. */
uint64_t (*start_mode(const char *mode, size_t pages, uint64_t seed))(uint64_t);

void end_processes(void);

/* --- files.c --- */

void open_files(void);

/* Verifies that the files are as the step before left them, and changes them. */
void update_files(uint64_t step, uint64_t checksum);

/* Verifies the files a last time and removes the temporary one; memory.record and memory.state are the job's outputs. */
void close_files(uint64_t steps);
