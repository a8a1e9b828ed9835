/** The URL of the module `name` beside the calling one, whether that runs as source (`.ts`) or as built (`.js`). */
export function siblingModule(callerUrl: string, name: string): URL {
  const extension = callerUrl.slice(callerUrl.lastIndexOf('.'));
  return new URL(`./${name}${extension}`, callerUrl);
}
