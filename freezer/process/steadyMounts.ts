/** The machine's mounts come and go, those of other containers for instance, while bubblewrap binds them one by one. */

const MOUNT_WENT_AWAY = /bwrap: Can't bind mount|Unable to apply mount flags/;
const TRIES = 5;

/** Does the work again where bubblewrap met a mount that was gone by then. It must leave nothing behind when it fails. */
export async function whileMountsMove<T>(work: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await work();
    } catch (error) {
      const isPassing = error instanceof Error && MOUNT_WENT_AWAY.test(error.message);
      if (!isPassing || tried === TRIES) throw error;
    }
  }
}
