#ifndef FLOE_FILL_MESSAGES_H
#define FLOE_FILL_MESSAGES_H

/*
 * The conversation with the engine, over the connection that is standard input: freezer/engine/fillMessages.ts has what the messages
 * mean. Whatever goes wrong ends this process with the reason on standard error.
 */
#include <stdbool.h>
#include <stdint.h>

enum kind { RANGE = 1, RANGES_END, WANTED, NEXT, PAGES, DONE };

/* `address` is the checkpoint's. PAGES has as many of them behind it. */
struct message {
  uint32_t kind, process;
  uint64_t address, pages;
};

enum { MOST_PAGES = 1024 };

/* The next whole message. `*content` is what is behind it, valid until the next call. False where it is not there yet. */
bool receive_message(struct message *message, const uint8_t **content);

/* Sent as soon as the engine takes it. */
void send_message(struct message message);

/* False where the engine does not take all of it yet. */
bool send_waiting(void);

/* Drops what has come. False where more may come. */
bool engine_has_left(void);

#endif
