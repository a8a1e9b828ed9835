/** The toolbox and the CRIU in it. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { CodecAddon } from '../checkpoint/codecAddon.ts';
import { headerLayout } from '../criu/pageServer.ts';
import { readCriuVersion } from '../criu/version.ts';
import { checkCriu, OLDEST_CRIU } from '../process/checkMachine.ts';

import { bad, type MachineFinding, ok } from './finding.ts';

/** From the sources, and from the package's `dist`. */
const SETUP_SCRIPTS = ['../../scripts/setup/toolbox', '../../../scripts/setup/toolbox'];
const REMEDY = 'Run `scripts/setup/main run` as root, or set FLOE_TOOLBOX to where the toolbox is.';
/** What tells that a toolbox is whole. */
const FILES: readonly string[] = [
  ...['lib/ld.so', 'bin/criu', 'bin/node', 'bin/tar', 'bin/cp', 'bin/rm', 'bin/getfattr', 'bin/setfattr', 'bin/init'],
  ...['bin/supervisor', 'bin/hold', 'bin/last-pid', 'bin/isolate-network', 'bin/data-ranges', 'bin/confine'],
  ...['lib/codec.node', 'lib/extended-attributes.node', 'lib/data-ranges.node', 'complete'],
];

/** Whole, and made by this version of Floe. */
export async function checkToolbox(directory: string): Promise<MachineFinding> {
  const check = 'toolbox';
  const present = await Promise.all(FILES.map((file) => isThere(join(directory, file))));
  const missing = FILES.filter((_, at) => !present[at]);
  if (missing.length === FILES.length) return bad('fail', check, `there is none in ${directory}`, REMEDY);
  if (missing.length > 0) return bad('fail', check, `${directory} lacks ${missing.join(', ')}`, REMEDY);
  if (await isOfThisVersion(directory)) return ok(check, directory);
  return bad('warn', check, `${directory} was made by another version of Floe`, REMEDY);
}

/** A container has no set-up scripts, and a toolbox that was built with it. */
async function isOfThisVersion(directory: string): Promise<boolean> {
  for (const script of SETUP_SCRIPTS.map((path) => fileURLToPath(new URL(path, import.meta.url)))) {
    if (await isThere(script, constants.X_OK)) {
      return !(await execa(script, ['--is-built', directory], { reject: false })).failed;
    }
  }
  return true;
}

function isThere(path: string, mode = constants.R_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}

/** What checkpoints are compressed with: it must fit the Node that loads it. */
export async function checkCodec(directory: string): Promise<MachineFinding> {
  if (CodecAddon.open(directory)) return ok('codec', 'compiled');
  const found = `Node ${process.version} does not load the compiled one: freezes and thaws take several times as long`;
  return bad('warn', 'codec', found, "Run Floe on the Node that is among its packages, or on one of nodejs.org's.");
}

/** It runs, says its version, and this version's page stream is understood. */
export async function checkCriuVersion(directory: string): Promise<MachineFinding> {
  const version = await readCriuVersion(directory);
  const found = `${version.join('.')}, ${headerLayout(version)} page headers`;
  if (version[0] >= OLDEST_CRIU[0]) return ok('CRIU', found);
  return bad(
    'fail',
    'CRIU',
    `${found}: too old`,
    `Install CRIU ${OLDEST_CRIU.join('.')} or newer: \`scripts/setup/main run\`.`,
  );
}

/** `criu check`, in a sandbox such as jobs have. */
export async function checkCriuOnKernel(directory: string): Promise<MachineFinding> {
  await checkCriu(directory);
  return ok('criu check', 'CRIU can work on this kernel');
}
