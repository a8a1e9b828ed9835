/*
 * Loaded into `criu restore` ahead of the C library: lets CRIU go on where a process of the job is killed before CRIU has let go of it.
 *
 * CRIU lets go of a restored job's processes one after the other (finalize_restore_detach in criu/cr-restore.c). The first of them run
 * at once, and may kill others: by kill(2), or by their own end (PR_SET_PDEATHSIG in prctl(2)). To let go of a process that is dead
 * the kernel answers with ESRCH, upon which CRIU would kill all the rest, and the restore would have failed because of what the job
 * does by right. Its parent hears of the death when CRIU has ended, as of any other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The C library's, but for that. As there, what a request reads is its result (ptrace(2), "C library/kernel differences"). */
long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t pid = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
  va_end(arguments);
  long word;
  bool reads = request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER;
  long result = syscall(SYS_ptrace, request, pid, address, reads ? (void *)&word : data);
  if (result < 0) return request == PTRACE_DETACH && errno == ESRCH ? 0 : result;
  if (!reads) return result;
  errno = 0;
  return word;
}
