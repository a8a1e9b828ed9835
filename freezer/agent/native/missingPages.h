#ifndef FLOE_MISSING_PAGES_H
#define FLOE_MISSING_PAGES_H

/*
 * Which pages of a process are not there yet, wherever it moves them. The checkpoint knows a page by the address that it had when the
 * process was frozen, `image` below; the process may have moved it since (mremap(2)). Addresses are of whole pages.
 *
 *   unasked ──ask──► asked ──want──► wanted        a page that somebody waits for is asked for once more, to come before others
 *      │  └────────────│──────want─────▲ │
 *      └───────────────┴────► here ◄─────┘         it is placed, or unmapped: nothing is to come any more
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_BYTES = 4096 };

/* Pages one after the other, in the checkpoint and in the process. */
struct run {
  uint64_t image, address, pages;
};

struct missing_pages {
  /* Those that are not here. */
  uint64_t left;
  /* All else belongs to missingPages.c. */
  struct area *areas;
  size_t area_count;
  uint8_t *states;
  size_t state_count;
  /* Where in `states` those begin that are asked for next without anybody waiting for them. */
  size_t next;
};

/* All start at zero. Where memory runs out, the process ends with the reason on standard error. */
void missing_free(struct missing_pages *missing);

/* False where these pages are not above all that were added before. */
bool missing_add(struct missing_pages *missing, uint64_t image, uint64_t pages);

/* What a child has after fork(2): of what is missing, nothing is asked for yet. */
void missing_copy(struct missing_pages *child, const struct missing_pages *parent);

/*
 * The process has emptied this memory, unmapped it, or moved it to where there is nothing else any more. What it has moved before is
 * not taken to be unmapped: of two threads the kernel may tell first that one has moved memory to a place, and then that the other has
 * unmapped what was there before. What really is unmapped has no mapping to be placed in.
 */
void missing_emptied(struct missing_pages *missing, uint64_t address, uint64_t size_bytes);
void missing_unmapped(struct missing_pages *missing, uint64_t address, uint64_t size_bytes);
void missing_moved(struct missing_pages *missing, uint64_t from, uint64_t to, uint64_t size_bytes);

/* Pages that nobody waits for, `most` at most, which are asked from now on. No pages where there are none that are unasked. */
struct run missing_ask(struct missing_pages *missing, uint64_t most);

/*
 * Somebody waits for the page at this address: it, and what of the next `most` pages is not there either, is wanted from now on.
 * What is asked next follows it, because a program that goes through its memory does. `*is_missing` tells whether that page is to come
 * at all; no pages where there is no need to ask.
 */
struct run missing_want(struct missing_pages *missing, uint64_t address, uint64_t most, bool *is_missing);

/* The first of these pages of the checkpoint that are not here, where they belong now; no pages where all are here. */
struct run missing_find(const struct missing_pages *missing, uint64_t image, uint64_t pages);

/* They are here. */
void missing_placed(struct missing_pages *missing, uint64_t image, uint64_t pages);

#endif
