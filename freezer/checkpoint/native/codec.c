/*
 * The heavy work on content, for Node: what codec.ts says, in C. It does no more than Node's own modules can (plainCodec.ts, which it is
 * held to by a test), but leaves nothing to the garbage collector, makes no context twice, and reads, hashes, compresses and
 * writes a chunk while it is in the processor's cache: a third of the processor time.
 *
 *   examine(plan, memory, ids, identityKey, encryptionKey, seed, level, output)  → promise of the bytes written to `output`
 *   unpack(the same)                                                             → promise of the first chunk that is damaged, or -1
 *
 * Both run in libuv's pool of threads. `plan` is a Float64Array, laid out as said below at each; `memory` is a list of Uint8Arrays, `ids`, the
 * keys and `output` are Uint8Arrays, the former null where there are none. All must stay as they are until the promise is settled; they
 * are kept from being collected. It is rejected with an Error that has a `code`, as Node's own have ('ENOSPC'), when a file
 * cannot be read or written.
 *
 * zstd and OpenSSL are those of the Node that loads this, which exports them: there is nothing to link, and no second version of
 * either. A Node that has them elsewhere does not load this (it is linked with `-z now`), and the caller does without.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#define NAPI_VERSION 8
#include <errno.h>
#include <node_api.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of zstd.h and xxhash.h, which Node does not ship. These have been the same since zstd 1.0. */
typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct ZSTD_DCtx_s ZSTD_DCtx;
ZSTD_CCtx *ZSTD_createCCtx(void);
ZSTD_DCtx *ZSTD_createDCtx(void);
size_t ZSTD_compressCCtx(ZSTD_CCtx *, void *to, size_t room, const void *from, size_t size, int level);
size_t ZSTD_decompressDCtx(ZSTD_DCtx *, void *to, size_t room, const void *from, size_t size);
unsigned ZSTD_isError(size_t);
size_t ZSTD_compressBound(size_t);
unsigned long long ZSTD_XXH64(const void *, size_t, unsigned long long seed);

enum { CHUNK_BYTES = 262144, PAGE_BYTES = 4096, DIGEST_BYTES = 8, ID_BYTES = 32, KEY_BYTES = 32, NONCE_BYTES = 12, TAG_BYTES = 16 };
/* More than zstd makes of a chunk at worst. */
enum { FRAME_BYTES = CHUNK_BYTES + 4096 };

static unsigned char ZEROS[CHUNK_BYTES];

/* --- What a thread works with, kept for the next one ------------------------------------------------------------------ */

struct bench {
  struct bench *next;
  ZSTD_CCtx *compressor;
  ZSTD_DCtx *decompressor;
  EVP_MD_CTX *hash;
  EVP_CIPHER_CTX *cipher;
  unsigned char content[CHUNK_BYTES];
  unsigned char frame[FRAME_BYTES];
};

static struct bench *idle_benches;
static pthread_mutex_t benches = PTHREAD_MUTEX_INITIALIZER;

static struct bench *new_bench(void) {
  struct bench *bench = malloc(sizeof *bench);
  if (!bench) return NULL;
  bench->compressor = ZSTD_createCCtx();
  bench->decompressor = ZSTD_createDCtx();
  bench->hash = EVP_MD_CTX_new();
  bench->cipher = EVP_CIPHER_CTX_new();
  /* What is there stays: a process that has no room for this ends soon. */
  return bench->compressor && bench->decompressor && bench->hash && bench->cipher ? bench : NULL;
}

static struct bench *take_bench(void) {
  pthread_mutex_lock(&benches);
  struct bench *bench = idle_benches;
  if (bench) idle_benches = bench->next;
  pthread_mutex_unlock(&benches);
  return bench ? bench : new_bench();
}

static void put_back(struct bench *bench) {
  pthread_mutex_lock(&benches);
  bench->next = idle_benches;
  idle_benches = bench;
  pthread_mutex_unlock(&benches);
}

/* --- A task: what was asked, what became of it ------------------------------------------------------------------------- */

struct memory {
  unsigned char *bytes;
  size_t size;
};

struct task {
  napi_async_work work;
  napi_deferred deferred;
  /* Everything whose memory is used. */
  napi_ref arguments;
  void (*run)(struct task *, struct bench *);
  const double *plan, *plan_end;
  struct memory *memories, output, ids, identity_key, encryption_key;
  uint32_t memory_count;
  int level;
  uint64_t seed;
  size_t fill;    /* of the output */
  double result;
  int error;      /* errno */
  const char *failure;
};

static int failed(const struct task *task) { return task->error || task->failure; }

static void fail_with_errno(struct task *task, const char *what) {
  task->error = errno;
  task->failure = what;
}

static void fail(struct task *task, const char *what) {
  if (!failed(task)) task->failure = what;
}

static double next_number(struct task *task) {
  if (task->plan < task->plan_end) return *task->plan++;
  fail(task, "The plan ends early.");
  return 0;
}

static size_t next_size(struct task *task, size_t most) {
  double value = next_number(task);
  if (value >= 0 && value <= (double)most) return (size_t)value;
  fail(task, "The plan has a size that is too large.");
  return 0;
}

/* Space at the end of the output, or NULL where it has none. */
static unsigned char *append(struct task *task, size_t size) {
  if (size > task->output.size - task->fill) {
    fail(task, "The output has no room.");
    return NULL;
  }
  unsigned char *space = task->output.bytes + task->fill;
  task->fill += size;
  return space;
}

static void append_digests(struct task *task, const unsigned char *content, size_t size) {
  size_t pages = size / PAGE_BYTES;
  unsigned char *space = append(task, pages * DIGEST_BYTES);
  for (size_t page = 0; space && page < pages; page++) {
    uint64_t digest = ZSTD_XXH64(content + page * PAGE_BYTES, PAGE_BYTES, task->seed);
    for (int byte = 0; byte < DIGEST_BYTES; byte++) space[page * DIGEST_BYTES + byte] = digest >> (8 * byte);
  }
}

/* --- Hashing and sealing ------------------------------------------------------------------------------------------------ */

static int is_set(struct memory key) { return key.size == KEY_BYTES; }

static void hash_frame(struct task *task, struct bench *bench, const unsigned char *frame, size_t size, unsigned char *id) {
  unsigned length = ID_BYTES;
  int is_made;
  if (is_set(task->identity_key))
    is_made = HMAC(EVP_sha256(), task->identity_key.bytes, KEY_BYTES, frame, size, id, &length) != NULL;
  else
    is_made = EVP_DigestInit_ex(bench->hash, EVP_sha256(), NULL) && EVP_DigestUpdate(bench->hash, frame, size) &&
              EVP_DigestFinal_ex(bench->hash, id, &length);
  if (!is_made) fail(task, "OpenSSL cannot hash.");
}

/* What a chunk is sealed as: its id, as text. */
static void context_of(const unsigned char *id, unsigned char text[2 * ID_BYTES]) {
  for (int at = 0; at < ID_BYTES; at++) {
    text[2 * at] = "0123456789abcdef"[id[at] >> 4];
    text[2 * at + 1] = "0123456789abcdef"[id[at] & 15];
  }
}

/* nonce | ciphertext | tag, see encryption/seal.ts */
static void seal(struct task *task, struct bench *bench, const unsigned char *id, const unsigned char *frame, int size, unsigned char *to) {
  unsigned char context[2 * ID_BYTES];
  int length;
  context_of(id, context);
  int is_sealed = RAND_bytes(to, NONCE_BYTES) == 1 &&
                  EVP_EncryptInit_ex(bench->cipher, EVP_aes_256_gcm(), NULL, task->encryption_key.bytes, to) &&
                  EVP_EncryptUpdate(bench->cipher, NULL, &length, context, sizeof context) &&
                  EVP_EncryptUpdate(bench->cipher, to + NONCE_BYTES, &length, frame, size) &&
                  EVP_EncryptFinal_ex(bench->cipher, to + NONCE_BYTES + size, &length) &&
                  EVP_CIPHER_CTX_ctrl(bench->cipher, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, to + NONCE_BYTES + size);
  if (!is_sealed) fail(task, "OpenSSL cannot encrypt.");
}

/* The size of the frame, or -1 for what was not sealed as this chunk with this key. */
static int open_seal(struct task *task, struct bench *bench, const unsigned char *id, unsigned char *sealed, size_t size, unsigned char *to) {
  unsigned char context[2 * ID_BYTES];
  int length, frame_size = (int)size - NONCE_BYTES - TAG_BYTES;
  if (frame_size < 0 || frame_size > FRAME_BYTES) return -1;
  context_of(id, context);
  int is_opened = EVP_DecryptInit_ex(bench->cipher, EVP_aes_256_gcm(), NULL, task->encryption_key.bytes, sealed) &&
                  EVP_DecryptUpdate(bench->cipher, NULL, &length, context, sizeof context) &&
                  EVP_DecryptUpdate(bench->cipher, to, &length, sealed + NONCE_BYTES, frame_size) &&
                  EVP_CIPHER_CTX_ctrl(bench->cipher, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, sealed + NONCE_BYTES + frame_size) &&
                  EVP_DecryptFinal_ex(bench->cipher, to + frame_size, &length) > 0;
  return is_opened ? frame_size : -1;
}

/* --- examine -------------------------------------------------------------------------------------------------------------
 *
 * plan: how many questions; then each: whether digests are wanted, whether it is to be stored, how many parts, and each of these:
 * source (a file's descriptor, or -1 - N for the Nth of `memory`), offset, size.
 * output: for each question whether all is zeros (1 byte), 3 bytes of nothing, the size of what is stored (4 bytes, little-endian, 0 for
 * nothing) and its id (32 bytes); then for each its digests and what is stored.
 */

enum { HEAD_BYTES = 8 + ID_BYTES };

static void read_part(struct task *task, int file, off_t offset, size_t size, unsigned char *to) {
  while (size > 0) {
    ssize_t got = pread(file, to, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_with_errno(task, "A file cannot be read");
    if (got == 0) return fail(task, "A file became shorter while it was saved.");
    to += got, offset += got, size -= got;
  }
}

/* The content of a question in one place: where it lies, or gathered on the bench. */
static const unsigned char *gather(struct task *task, struct bench *bench, size_t *size) {
  size_t parts = next_size(task, CHUNK_BYTES);
  const unsigned char *only = NULL;
  *size = 0;
  for (size_t part = 0; part < parts && !failed(task); part++) {
    double source = next_number(task);
    size_t offset = next_size(task, (size_t)1 << 53), length = next_size(task, CHUNK_BYTES - *size);
    if (failed(task)) return NULL;
    if (source >= 0 && source <= INT32_MAX) {
      read_part(task, (int)source, (off_t)offset, length, bench->content + *size);
    } else {
      uint32_t number = source < 0 && source >= INT32_MIN ? (uint32_t)(-1 - source) : UINT32_MAX;
      if (number >= task->memory_count || offset + length > task->memories[number].size) {
        fail(task, "The plan names memory that is not there.");
        return NULL;
      }
      const unsigned char *bytes = task->memories[number].bytes + offset;
      if (parts == 1) only = bytes;
      else memcpy(bench->content + *size, bytes, length);
    }
    *size += length;
  }
  return only ? only : bench->content;
}

static size_t store(struct task *task, struct bench *bench, const unsigned char *content, size_t size, unsigned char *id) {
  int is_sealed = is_set(task->encryption_key);
  size_t room = ZSTD_compressBound(size) + (is_sealed ? NONCE_BYTES + TAG_BYTES : 0);
  unsigned char *space = append(task, room);
  if (!space) return 0;
  unsigned char *frame = is_sealed ? bench->frame : space;
  size_t frame_size = ZSTD_compressCCtx(bench->compressor, frame, is_sealed ? FRAME_BYTES : room, content, size, task->level);
  if (ZSTD_isError(frame_size)) {
    fail(task, "zstd cannot compress.");
    return 0;
  }
  hash_frame(task, bench, frame, frame_size, id);
  if (is_sealed) seal(task, bench, id, frame, (int)frame_size, space);
  size_t stored = frame_size + (is_sealed ? NONCE_BYTES + TAG_BYTES : 0);
  task->fill -= room - stored;
  return stored;
}

static void examine(struct task *task, struct bench *bench) {
  size_t questions = next_size(task, task->output.size / HEAD_BYTES);
  unsigned char *heads = append(task, questions * HEAD_BYTES);
  for (size_t number = 0; heads && number < questions && !failed(task); number++) {
    unsigned char *head = heads + number * HEAD_BYTES;
    int wants_digests = next_number(task) != 0, is_to_store = next_number(task) != 0;
    size_t size;
    const unsigned char *content = gather(task, bench, &size);
    if (failed(task)) return;
    memset(head, 0, HEAD_BYTES);
    head[0] = memcmp(content, ZEROS, size) == 0;
    if (wants_digests) append_digests(task, content, size);
    if (!is_to_store || head[0]) continue;
    uint32_t stored = (uint32_t)store(task, bench, content, size, head + 8);
    for (int byte = 0; byte < 4; byte++) head[4 + byte] = stored >> (8 * byte);
  }
  task->result = (double)task->fill;
}

/* --- unpack --------------------------------------------------------------------------------------------------------------
 *
 * plan: bytes of digests (0 where none are wanted), how many chunks; then each: offset in `memory[0]`, stored size, size of its content, how
 * many writes (-1: hand it back), and each of these: file's descriptor, offset in the file, offset in the content, size. `ids` are 32 bytes each.
 * output: the digests of all pages, chunk by chunk; then the contents that are handed back, in their order.
 */

static void write_part(struct task *task, int file, off_t offset, const unsigned char *from, size_t size) {
  while (size > 0) {
    ssize_t done = pwrite(file, from, size, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return fail_with_errno(task, "A file cannot be written");
    from += done, offset += done, size -= done;
  }
}

/* Whether what is stored is the chunk of this id; its content is on the bench then. Nothing unproved is decompressed. */
static int unpack_chunk(struct task *task, struct bench *bench, const unsigned char *id, struct memory stored, size_t size) {
  const unsigned char *frame = stored.bytes;
  size_t frame_size = stored.size;
  if (is_set(task->encryption_key)) {
    int opened = open_seal(task, bench, id, stored.bytes, stored.size, bench->frame);
    if (opened < 0) return 0;
    frame = bench->frame;
    frame_size = opened;
  } else {
    unsigned char found[ID_BYTES];
    hash_frame(task, bench, frame, frame_size, found);
    if (memcmp(found, id, ID_BYTES) != 0) return 0;
  }
  return ZSTD_decompressDCtx(bench->decompressor, bench->content, size, frame, frame_size) == size;
}

static void write_parts(struct task *task, struct bench *bench, size_t size, size_t writes) {
  for (size_t write = 0; write < writes && !failed(task); write++) {
    int file = (int)next_size(task, INT32_MAX);
    size_t file_offset = next_size(task, (size_t)1 << 53), offset = next_size(task, size);
    size_t length = next_size(task, size - offset);
    if (!failed(task)) write_part(task, file, (off_t)file_offset, bench->content + offset, length);
  }
}

static void hand_back(struct task *task, struct bench *bench, size_t size, unsigned char **contents) {
  if (*contents + size > task->output.bytes + task->output.size) return fail(task, "The output has no room.");
  memcpy(*contents, bench->content, size);
  *contents += size;
}

static void unpack(struct task *task, struct bench *bench) {
  size_t digest_bytes = next_size(task, task->output.size);
  unsigned char *contents = task->output.bytes + digest_bytes;
  size_t chunks = next_size(task, task->memory_count > 0 ? task->ids.size / ID_BYTES : 0);
  task->result = -1;
  for (size_t number = 0; number < chunks && !failed(task); number++) {
    size_t offset = next_size(task, task->memories[0].size);
    struct memory stored = {task->memories[0].bytes + offset, next_size(task, task->memories[0].size - offset)};
    size_t size = next_size(task, CHUNK_BYTES);
    double writes = next_number(task);
    if (failed(task)) return;
    if (!unpack_chunk(task, bench, task->ids.bytes + number * ID_BYTES, stored, size)) {
      task->result = (double)number;
      return;
    }
    if (digest_bytes > 0) append_digests(task, bench->content, size);
    if (writes < 0) hand_back(task, bench, size, &contents);
    else write_parts(task, bench, size, (size_t)writes);
  }
}

/* --- Between JavaScript and the threads ----------------------------------------------------------------------------------- */

static void execute(napi_env env, void *data) {
  (void)env;
  struct task *task = data;
  struct bench *bench = take_bench();
  if (!bench) return fail(task, "There is no memory for a thread to work with.");
  task->run(task, bench);
  put_back(bench);
}

static napi_value error_of(napi_env env, const struct task *task) {
  napi_value message, code = NULL, error;
  char text[256];
  if (task->error) snprintf(text, sizeof text, "%s: %s", task->failure, strerror(task->error));
  else snprintf(text, sizeof text, "%s", task->failure);
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message);
  if (task->error) napi_create_string_utf8(env, strerrorname_np(task->error), NAPI_AUTO_LENGTH, &code);
  napi_create_error(env, code, message, &error);
  return error;
}

static void complete(napi_env env, napi_status status, void *data) {
  struct task *task = data;
  napi_value result;
  if (status != napi_ok) fail(task, "The work was cancelled.");
  if (failed(task)) {
    napi_reject_deferred(env, task->deferred, error_of(env, task));
  } else {
    napi_create_double(env, task->result, &result);
    napi_resolve_deferred(env, task->deferred, result);
  }
  napi_delete_reference(env, task->arguments);
  napi_delete_async_work(env, task->work);
  free(task->memories);
  free(task);
}

/* Empty for anything but an array of bytes. */
static struct memory memory_of(napi_env env, napi_value value) {
  napi_typedarray_type type;
  void *bytes;
  size_t size;
  if (napi_get_typedarray_info(env, value, &type, &size, &bytes, NULL, NULL) != napi_ok || type != napi_uint8_array)
    return (struct memory){NULL, 0};
  return (struct memory){bytes, size};
}

/* Whether `values` is an array of the arrays of bytes that the task is to have. */
static int take_memories(napi_env env, napi_value values, struct task *task) {
  if (napi_get_array_length(env, values, &task->memory_count) != napi_ok) return 0;
  task->memories = calloc(task->memory_count + 1, sizeof *task->memories);
  for (uint32_t number = 0; task->memories && number < task->memory_count; number++) {
    napi_value value;
    napi_get_element(env, values, number, &value);
    task->memories[number] = memory_of(env, value);
  }
  return task->memories != NULL;
}

static int take_plan(napi_env env, napi_value value, struct task *task) {
  napi_typedarray_type type;
  void *numbers;
  size_t count;
  if (napi_get_typedarray_info(env, value, &type, &count, &numbers, NULL, NULL) != napi_ok || type != napi_float64_array) return 0;
  task->plan = numbers;
  task->plan_end = task->plan + count;
  return 1;
}

enum { PLAN, MEMORY, IDS, IDENTITY_KEY, ENCRYPTION_KEY, SEED, LEVEL, OUTPUT, ARGUMENTS };

static napi_value begin(napi_env env, napi_callback_info info, void (*run)(struct task *, struct bench *), const char *name) {
  napi_value arguments[ARGUMENTS], list, resource_name, promise;
  size_t count = ARGUMENTS;
  bool is_lossless;
  struct task *task = calloc(1, sizeof *task);
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (!task || !take_plan(env, arguments[PLAN], task) || !take_memories(env, arguments[MEMORY], task) ||
      napi_get_value_bigint_uint64(env, arguments[SEED], &task->seed, &is_lossless) != napi_ok ||
      napi_get_value_int32(env, arguments[LEVEL], &task->level) != napi_ok) {
    if (task) free(task->memories);
    free(task);
    napi_throw_type_error(env, NULL, "wrong arguments");
    return NULL;
  }
  task->run = run;
  task->ids = memory_of(env, arguments[IDS]);
  task->identity_key = memory_of(env, arguments[IDENTITY_KEY]);
  task->encryption_key = memory_of(env, arguments[ENCRYPTION_KEY]);
  task->output = memory_of(env, arguments[OUTPUT]);
  napi_create_array_with_length(env, ARGUMENTS, &list);
  for (uint32_t at = 0; at < ARGUMENTS; at++) napi_set_element(env, list, at, arguments[at]);
  napi_create_reference(env, list, 1, &task->arguments);
  napi_create_promise(env, &task->deferred, &promise);
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &resource_name);
  napi_create_async_work(env, NULL, resource_name, execute, complete, task, &task->work);
  napi_queue_async_work(env, task->work);
  return promise;
}

static napi_value begin_examine(napi_env env, napi_callback_info info) { return begin(env, info, examine, "examine"); }
static napi_value begin_unpack(napi_env env, napi_callback_info info) { return begin(env, info, unpack, "unpack"); }

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "examine", NAPI_AUTO_LENGTH, begin_examine, NULL, &function);
  napi_set_named_property(env, exports, "examine", function);
  napi_create_function(env, "unpack", NAPI_AUTO_LENGTH, begin_unpack, NULL, &function);
  napi_set_named_property(env, exports, "unpack", function);
  return exports;
}
