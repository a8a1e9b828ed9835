/** Keeps secrets that people put into jobs off the screen. It goes by names, so it is a courtesy and not a vault. */

export const MASK = '••••••••';

const SECRET_NAME = /KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL/i;
const URL_PASSWORD = /(:\/\/[^\s:/@]*:)[^\s/@]+@/g;

export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** Values of secret-looking names, and passwords inside URLs of the others, are replaced. */
export function maskEnv(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, isSecretName(name) ? MASK : maskUrls(value)]),
  );
}

/** The same for `NAME=value`, `--name=value` and `--name value` among a program's arguments. */
export function maskCommand(command: readonly string[]): string[] {
  return command.map((word, at) => {
    const assigned = /^(-{0,2}[\w-]+)=/.exec(word)?.[1];
    if (assigned && isSecretName(assigned)) return `${assigned}=${MASK}`;
    const before = command[at - 1] ?? '';
    return /^--?[\w-]+$/.test(before) && isSecretName(before) && !word.startsWith('-') ? MASK : maskUrls(word);
  });
}

function maskUrls(text: string): string {
  return text.replace(URL_PASSWORD, `$1${MASK}@`);
}
