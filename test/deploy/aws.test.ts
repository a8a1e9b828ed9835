/** The files for EC2 and ECS, against what AWS publishes of its resources. */
import { execa } from 'execa';
import { describe, expect, it, test } from 'vitest';
import { z } from 'zod';
import { CAPABILITIES, CAPABILITY_FOR_USERS } from '../../freezer/container/runArguments.ts';
import { attributesOf, isObject, mistakesIn } from './awsSchema.ts';
import { readDeployFile, whyMissing } from './files.ts';
import { launchTemplateData, template, userData, writtenByUserData } from './userData.ts';

/** Every value in a tree, with the key it stands under. */
function* entriesIn(value: unknown): Generator<[string, unknown]> {
  for (const [key, inner] of Object.entries(isObject(value) || Array.isArray(value) ? value : {})) {
    yield [key, inner];
    yield* entriesIn(inner);
  }
}

describe('the CloudFormation template', () => {
  it.each(Object.entries(template.Resources))('has only properties that exist: %s', (_name, { Type, Properties }) => {
    expect(mistakesIn(Type, Properties)).toEqual([]);
  });

  it('refers to nothing that is not there', () => {
    const known = new Set([...Object.keys(template.Parameters), ...Object.keys(template.Resources)]);
    const isKnown = (name: string) => known.has(name) || /^AWS::(StackName|Region|Partition|AccountId)$/.test(name);
    const unknown = [...entriesIn(template.Resources)].flatMap(([key, value]) => {
      if (typeof value !== 'string') return [];
      if (key === 'Ref') return isKnown(value) ? [] : [value];
      if (key === 'Fn::Sub')
        return [...value.matchAll(/\$\{([^}!]+)\}/g)].map(([, name = '']) => name).filter((name) => !isKnown(name));
      if (key !== 'Fn::GetAtt') return [];
      const [name = '', attribute = ''] = value.split('.');
      return attributesOf(template.Resources[name]?.Type ?? '').includes(attribute) ? [] : [value];
    });
    expect(unknown).toEqual([]);
  });

  it('lets the instances have the policy of the store, and no more', () => {
    const [store] = z
      .array(z.object({ PolicyDocument: z.unknown() }))
      .parse(template.Resources.Role?.Properties.Policies);
    const text = JSON.stringify(store?.PolicyDocument, (_key, value: unknown) =>
      isObject(value) && typeof value['Fn::Sub'] === 'string'
        ? value['Fn::Sub'].replace(/\$\{AWS::Partition\}/, 'aws').replace(/\$\{Bucket\}/, 'BUCKET')
        : value,
    );
    expect(JSON.parse(text)).toEqual(JSON.parse(readDeployFile('s3-policy.json')));
  });

  it('keeps the metadata from containers of jobs', () => {
    expect(launchTemplateData.MetadataOptions).toMatchObject({ HttpTokens: 'required', HttpPutResponseHopLimit: 1 });
    expect(writtenByUserData('/etc/systemd/system/floe-worker.service')).toContain('--network host');
  });

  it('gives each one that waits longer than the one it waits for', () => {
    const seconds = (pattern: RegExp) => Number(pattern.exec(userData)?.[1]);
    const [hook] = z
      .array(z.object({ HeartbeatTimeout: z.number() }))
      .parse(template.Resources.Group?.Properties.LifecycleHookSpecificationList);
    const times = [
      seconds(/FLOE_GRACE_MS=(\d+)/) / 1000,
      seconds(/docker stop --time (\d+)/),
      seconds(/TimeoutStopSec=(\d+)/),
      hook?.HeartbeatTimeout ?? 0,
    ];
    expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  });

  it('has user data that fits', () => {
    expect(Buffer.byteLength(userData)).toBeLessThan(16_384);
  });

  const noShellcheck = whyMissing('shellcheck', 'shellcheck');
  test.skipIf(noShellcheck)(`has sound shell scripts${noShellcheck}`, async () => {
    for (const input of [userData, writtenByUserData('/usr/local/sbin/floe-lifecycle')]) {
      const { stdout } = await execa('shellcheck', ['-'], { input, reject: false });
      expect(stdout).toBe('');
    }
  });
});

/** The API's names begin with a small letter, CloudFormation's with a capital one; otherwise the shapes are the same. */
function asInCloudFormation(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asInCloudFormation);
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([name, inner]) => [
    `${name.charAt(0).toUpperCase()}${name.slice(1)}`,
    name === 'options' ? inner : asInCloudFormation(inner),
  ]);
  return Object.fromEntries(entries);
}

describe('ECS', () => {
  it.each([
    ['worker-task.json', 'AWS::ECS::TaskDefinition'],
    ['freezer-task.json', 'AWS::ECS::TaskDefinition'],
    ['worker-service.json', 'AWS::ECS::Service'],
  ])('%s has only properties that exist', (file, type) => {
    expect(mistakesIn(type, asInCloudFormation(JSON.parse(readDeployFile(`ecs/${file}`))))).toEqual([]);
  });

  it('gives the freezer the capabilities that it needs, and no more', () => {
    const Capabilities = z.object({ drop: z.tuple([z.literal('ALL')]), add: z.array(z.string()) });
    const Container = z.object({ linuxParameters: z.object({ capabilities: Capabilities }) });
    const task = z.object({ containerDefinitions: z.tuple([Container]) });
    const { containerDefinitions } = task.parse(JSON.parse(readDeployFile('ecs/freezer-task.json')));
    const { add } = containerDefinitions[0].linuxParameters.capabilities;
    expect(add.toSorted()).toEqual([...CAPABILITIES, CAPABILITY_FOR_USERS].sort());
  });

  it('leaves the worker its grace before the kill, and the same folder in and out', () => {
    const Container = z.object({
      stopTimeout: z.number(),
      environment: z.array(z.object({ name: z.string(), value: z.string() })),
    });
    const task = z
      .object({
        containerDefinitions: z.tuple([Container]),
        volumes: z.array(z.object({ name: z.string(), host: z.object({ sourcePath: z.string() }) })),
      })
      .parse(JSON.parse(readDeployFile('ecs/worker-task.json')));
    const [{ environment, stopTimeout }] = task.containerDefinitions;
    const settings = Object.fromEntries(environment.map(({ name, value }) => [name, value]));
    expect(Number(settings.FLOE_GRACE_MS)).toBeLessThan(stopTimeout * 1000);
    expect(task.volumes.map(({ host }) => host.sourcePath)).toContain(settings.FLOE_STATE_DIR);
  });
});

it('tells a property that does not exist, one that is missing and one of a wrong type', () => {
  expect(mistakesIn('AWS::AutoScaling::LifecycleHook', { AutoScalingGroupName: 'a', HeartBeat: 1 })).toEqual([
    'AWS::AutoScaling::LifecycleHook.LifecycleTransition: missing',
    'AWS::AutoScaling::LifecycleHook.HeartBeat: no such property',
  ]);
  expect(
    mistakesIn('AWS::EC2::LaunchTemplate', { LaunchTemplateData: { MetadataOptions: { HttpTokens: [] } } }),
  ).toEqual(['AWS::EC2::LaunchTemplate.LaunchTemplateData.MetadataOptions.HttpTokens: not text']);
});
