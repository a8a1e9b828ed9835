/* The memory of the reference job: what every page must hold after a step, written and verified. */
#define _GNU_SOURCE
#include "memory.h"

#include <sys/mman.h>

enum { REWRITE_PARTS = 64, VERIFY_PARTS = 8 };

int compressible = 1;

/* The finalizer of MurmurHash3. */
uint64_t mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
  return x ^ x >> 33;
}

/* How often a page has been rewritten by the end of a step: part P of the pages is rewritten in steps P, P+64, P+128, … */
static uint64_t generation(const struct slice *slice, size_t page, uint64_t step) {
  uint64_t part = page * REWRITE_PARTS / slice->pages;
  return (step + REWRITE_PARTS - part) / REWRITE_PARTS - (part == 0);
}

static uint64_t expected(const struct slice *slice, size_t page, uint64_t generation, size_t index) {
  if (compressible && index % 4 != 0) return page + generation;
  uint64_t seed = generation == 0 ? slice->seed : slice->writer;
  return mix(mix(seed + generation) + page * PAGE_WORDS + index);
}

void write_pages(const struct slice *slice, size_t from, size_t to, uint64_t step) {
  for (size_t page = from; page < to; page++) {
    uint64_t count = generation(slice, page, step);
    for (size_t index = 0; index < PAGE_WORDS; index++)
      slice->words[page * PAGE_WORDS + index] = expected(slice, page, count, index);
  }
}

static uint64_t verify_pages(const struct slice *slice, size_t from, size_t to, uint64_t step) {
  uint64_t digest = step;
  for (size_t page = from; page < to; page++) {
    uint64_t count = generation(slice, page, step);
    for (size_t index = 0; index < PAGE_WORDS; index++) {
      uint64_t found = slice->words[page * PAGE_WORDS + index], wanted = expected(slice, page, count, index);
      if (found != wanted)
        corrupt("step %lu, page %zu of %zu, word %zu: %016lx instead of %016lx", step, page, slice->pages, index, found, wanted);
      digest = (digest ^ found) * 0x100000001b3ULL;
    }
  }
  return digest;
}

void rewrite_part(const struct slice *slice, uint64_t step) {
  uint64_t part = step % REWRITE_PARTS;
  /* The first and last page of `part`, by the same rounding as in generation(). */
  size_t from = (part * slice->pages + REWRITE_PARTS - 1) / REWRITE_PARTS;
  size_t to = ((part + 1) * slice->pages + REWRITE_PARTS - 1) / REWRITE_PARTS;
  write_pages(slice, from, to, step);
}

uint64_t verify_part(const struct slice *slice, uint64_t step) {
  uint64_t part = step % VERIFY_PARTS;
  return verify_pages(slice, part * slice->pages / VERIFY_PARTS, (part + 1) * slice->pages / VERIFY_PARTS, step);
}

uint64_t work(const struct slice *slice, uint64_t step) {
  rewrite_part(slice, step);
  return verify_part(slice, step);
}

void *map_memory(size_t size, int sharing) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("mmap");
  return memory;
}
