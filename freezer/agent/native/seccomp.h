#ifndef FLOE_SECCOMP_H
#define FLOE_SECCOMP_H

/*
 * Puts the calling thread, and everything that it starts, under the job's seccomp profile for good. no_new_privs must be set.
 * 0, or -errno when the kernel or libseccomp refuses.
 */
int install_job_filter(void);

#endif
