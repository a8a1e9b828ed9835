/** The manifests, against the Kubernetes API's own types: a name that is unknown, missing or of a wrong type does not compile. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { Namespace, Secret, ServiceAccount } from 'kubernetes-types/core/v1.js';
import type { NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import { expect, it, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { CAPABILITIES, CAPABILITY_FOR_USERS } from '../../freezer/container/runArguments.ts';
import { deployFile, readDeployFile, whyMissing } from './files.ts';

type Manifest = Deployment | Namespace | NetworkPolicy | Secret | ServiceAccount;

const MODULES = join(import.meta.dirname, '../../node_modules');
const FOLDERS: Record<string, string> = {
  v1: 'core/v1',
  'apps/v1': 'apps/v1',
  'networking.k8s.io/v1': 'networking/v1',
};

const manifests = parseAllDocuments(readDeployFile('kubernetes/floe.yaml')).map((each) => each.toJS() as Manifest);

function manifest<T extends Manifest>(kind: T['kind']): T {
  const found = manifests.find((each) => each.kind === kind);
  if (!found) throw new Error(`There is no ${kind}.`);
  return found as T;
}

/** TypeScript's words on manifests written down as literals. */
async function compile(all: readonly object[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'floe-manifests-'));
  try {
    const statements = all.map((each) => {
      const { apiVersion = '', kind } = each as Manifest;
      const types = join(MODULES, 'kubernetes-types', FOLDERS[apiVersion] ?? `no-such-version/${apiVersion}`);
      return `(${JSON.stringify(each)}) satisfies import(${JSON.stringify(types)}).${kind};`;
    });
    const file = join(folder, 'manifests.ts');
    await writeFile(file, `${statements.join('\n')}\nexport {};\n`);
    const flags = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--moduleResolution', 'bundler'];
    const { stdout } = await execa(join(MODULES, '.bin/tsc'), [...flags, '--module', 'esnext', file], {
      reject: false,
    });
    return stdout;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

it('has manifests that the API knows', async () => {
  expect(await compile(manifests)).toBe('');
});

it('tells a manifest that the API does not know', async () => {
  const deployment = manifest<Deployment>('Deployment');
  const pod = deployment.spec?.template.spec;
  const misspelt = { ...pod, terminationGracePeriod: 120 };
  const wrong = { ...deployment, spec: { ...deployment.spec, template: { spec: misspelt } } };
  expect(await compile([wrong])).toMatch(/terminationGracePeriod.* does not exist/);
});

it('selects the pods that it makes', () => {
  const { spec } = manifest<Deployment>('Deployment');
  expect(spec?.template.metadata?.labels).toMatchObject(spec?.selector.matchLabels ?? {});
  expect(manifest<NetworkPolicy>('NetworkPolicy').spec?.podSelector).toEqual(spec?.selector);
  expect(spec?.template.spec?.serviceAccountName).toBe(manifest<ServiceAccount>('ServiceAccount').metadata?.name);
});

it('asks for the capabilities one by one, and for no token', () => {
  const pod = manifest<Deployment>('Deployment').spec?.template.spec;
  expect(pod?.automountServiceAccountToken).toBe(false);
  const context = pod?.containers[0]?.securityContext;
  expect(context?.privileged).toBe(false);
  expect(context?.capabilities?.drop).toEqual(['ALL']);
  expect(context?.capabilities?.add?.toSorted()).toEqual([...CAPABILITIES, CAPABILITY_FOR_USERS].sort());
});

it('leaves the worker its grace before the kill', () => {
  const pod = manifest<Deployment>('Deployment').spec?.template.spec;
  const grace = pod?.containers[0]?.env?.find(({ name }) => name === 'FLOE_GRACE_MS')?.value;
  expect(Number(grace)).toBeLessThan((pod?.terminationGracePeriodSeconds ?? 0) * 1000);
});

const noShellcheck = whyMissing('shellcheck', 'shellcheck');
test.skipIf(noShellcheck)(`has a sound start script${noShellcheck}`, async () => {
  const { stdout } = await execa('shellcheck', [deployFile('kubernetes/start')], { reject: false });
  expect(stdout).toBe('');
});
