/*
 * Where a sparse file has data, for Node, which has no SEEK_DATA: reading a hole of a terabyte to see that it is zero takes an hour.
 *
 *   next(descriptor, offset)  → [start, end] of the next range with data at or after `offset`, in bytes; null where there is none
 *
 * A file system that knows no holes answers with the whole file (lseek(2)). Throws an Error with the `code` that the kernel gives.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#define NAPI_VERSION 8
#include <errno.h>
#include <node_api.h>
#include <string.h>
#include <unistd.h>

static napi_value next_range(napi_env env, napi_callback_info info) {
  napi_value arguments[2], answer, number;
  size_t count = 2;
  int32_t descriptor;
  int64_t offset;
  napi_get_cb_info(env, info, &count, arguments, NULL, NULL);
  if (napi_get_value_int32(env, arguments[0], &descriptor) != napi_ok || napi_get_value_int64(env, arguments[1], &offset) != napi_ok) {
    napi_throw_type_error(env, NULL, "wrong arguments");
    return NULL;
  }
  off_t start = lseek(descriptor, offset, SEEK_DATA);
  off_t end = start < 0 ? start : lseek(descriptor, start, SEEK_HOLE);
  if (end < 0 && errno == ENXIO) { /* nothing but a hole up to the end */
    napi_get_null(env, &answer);
    return answer;
  }
  if (end < 0) {
    napi_throw_error(env, strerrorname_np(errno), strerror(errno));
    return NULL;
  }
  napi_create_array_with_length(env, 2, &answer);
  napi_create_int64(env, start, &number);
  napi_set_element(env, answer, 0, number);
  napi_create_int64(env, end, &number);
  napi_set_element(env, answer, 1, number);
  return answer;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "next", NAPI_AUTO_LENGTH, next_range, NULL, &function);
  napi_set_named_property(env, exports, "next", function);
  return exports;
}
