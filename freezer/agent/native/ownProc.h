/*
 * Mounts /proc anew, for this process alone: an engine mounts a container's /proc/sys for reading only. `who` begins what is said
 * of a failure. 0, or -1 when the reason is on stderr.
 */
int mount_own_proc(const char *who);
