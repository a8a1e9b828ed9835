/** With which key checkpoints are written here. Whether KMS gives one out is not asked: that would need a grant of its own. */
import { KeyRing } from '../encryption/keyRing.ts';
import { bad, type MachineFinding, ok } from './finding.ts';

/** `texts` as in a `CheckpointPlace`. */
export function checkEncryption(texts: readonly string[]): MachineFinding {
  const check = 'encryption';
  const keys = KeyRing.of(texts);
  if (keys.current === null) return ok(check, 'no key: checkpoints are not encrypted');
  const found = `with ${keys.current.name}`;
  const remedy = 'Leave out `plain` when none is left that a job needs: who can write to the store could forge one.';
  if (keys.readsPlain) return bad('warn', check, `${found}; checkpoints that are not encrypted are thawed too`, remedy);
  const older = texts.length - 1;
  return ok(check, older === 0 ? found : `${found}, and ${older} more to read with`);
}
