/** What the program's environment is: freezer's own, without what is this machine's alone or not the program's business. */

/** Names that a program must not carry to another machine, where they are wrong, or that would put secrets into its checkpoints. */
const WITHHELD = [
  /^(HOME|TMPDIR|PWD|OLDPWD|SHLVL|_)$/,
  /^(S3|FREEZER_.*|FLOE_.*|CRIU_.*)$/,
  /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|CONTAINER_.*|WEB_IDENTITY_TOKEN_FILE)$/,
];

/** `wanted`: `NAME=VALUE`, or `NAME` for one of freezer's own that would be withheld. */
export function programEnvironment(env: NodeJS.ProcessEnv, wanted: readonly string[]): Record<string, string> {
  const passed = Object.entries(env).filter(([name]) => !WITHHELD.some((pattern) => pattern.test(name)));
  const asked = wanted.map((word): [string, string | undefined] => {
    const cut = word.indexOf('=');
    return cut === -1 ? [word, env[word]] : [word.slice(0, cut), word.slice(cut + 1)];
  });
  return Object.fromEntries(
    [...passed, ...asked].flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

/** Variables of the 2016 docker-freezer that have no meaning here, as far as they are set. */
export function ignoredVariables(env: NodeJS.ProcessEnv): string[] {
  const names = ['CRIU_LOGLEVEL', 'CRIU_EXCLUDES', 'CRIU_DUMP_OPTIONS', 'CRIU_RESTORE_OPTIONS'];
  return names.filter((name) => env[name]);
}
