#ifndef FLOE_FILLED_PROCESSES_H
#define FLOE_FILLED_PROCESSES_H

/*
 * The processes of a job whose memory is on its way, from what was missing of each until nothing is.
 *
 *   expected ──attach──► filling ──nothing is missing, and the restore is through──► filled
 *                           │ └──fork──► filling (its child, which lacks the same)
 *                           └──it ends, or runs another program──► gone
 *
 * Whatever keeps a page from getting to its place ends this process with the reason on standard error.
 */
#include <stdbool.h>
#include <stdint.h>

/* Processes are known to epoll(7) by words from here on. */
enum { FIRST_PROCESS = 2 };

/* Tells that these pages of the checkpoint's process are missing, before it is attached. */
void expect_pages(uint32_t process, uint64_t address, uint64_t pages);

/* The process is being restored; `descriptor` is of userfaultfd(2), and is watched by `epoll` from now on. */
void attach_process(uint32_t process, int descriptor, int epoll);

/* There are events of the process that epoll knows by this word. */
void process_has_events(uint64_t name);

/* Puts pages where they are missing, in the process and in what it has forked. */
void place_answer(uint32_t process, uint64_t address, const uint8_t *content, uint64_t pages);

/* Asks for what nobody waits for yet, as long as not too much is on its way. */
void ask_ahead(void);

/* Lets go of those that are gone, and once the restore is through of those that are filled. Whether there are none left. */
bool release_processes(bool is_restored);

#endif
