#ifndef FLOE_USERFAULT_H
#define FLOE_USERFAULT_H

/* Pages of another process, through a descriptor of userfaultfd(2) of its. */
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * PLACED        at least one page
 * IS_THERE      the first one was there already; whoever waits for it goes on
 * IS_CHANGING   the process changes its mappings, of which there is an event to be read, or there soon will be
 * NOT_MAPPED    these pages are not in one mapping
 * IS_GONE       the process has ended, or runs another program
 * CANNOT        anything else, told by errno
 */
enum placing { PLACED, IS_THERE, IS_CHANGING, NOT_MAPPED, IS_GONE, CANNOT };

/* Copies pages to where they are missing. `*placed` is how many of them. */
enum placing place_pages(int descriptor, uint64_t address, const void *content, uint64_t pages, uint64_t *placed);

/* The same with one page of zeros. */
enum placing place_zeros(int descriptor, uint64_t address);

/* Lets those go on who wait for this page: they come back if it is still missing. */
void wake(int descriptor, uint64_t address);

/* The next event, if there is one. Ends this process with the reason on standard error where that cannot be known. */
bool read_event(int descriptor, struct uffd_msg *event);

#endif
