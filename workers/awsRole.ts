/**
 * Short-lived credentials of an AWS role, which the worker takes with its own credentials (STS, `AssumeRole`) and a job is given. Region,
 * credentials and endpoint come from the SDK's default chain: `AWS_REGION`, `AWS_ENDPOINT_URL_STS`, profiles and instance roles.
 */
import { z } from 'zod';
import { FreezerError } from '../freezer/index.ts';

const attempts = 3;
const connectionTimeoutMs = 3_000;
const answerTimeoutMs = 10_000;

/** What an operator writes in `<name>.role`, as YAML or JSON. */
export const AwsRole = z.strictObject({
  roleArn: z.string().regex(/^arn:[\w-]+:iam::\d*:role\/[\w+=,.@/-]{1,512}$/, "must be a role's ARN"),
  /** How long the credentials are good for; they are renewed at half of it. */
  durationSeconds: z.int().min(900).max(43_200).default(3600),
  /** What the role's trust policy may ask for. */
  externalId: z.string().min(2).max(1224).optional(),
  /** Takes from what the role may do: a policy document, or its text. */
  policy: z
    .union([z.string(), z.record(z.string(), z.unknown()).transform((document) => JSON.stringify(document))])
    .optional(),
  /** Of STS. Default `AWS_REGION` of the worker. */
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,40}$/, 'must be a region')
    .optional(),
});
export type AwsRole = z.output<typeof AwsRole>;

/** In the form that AWS's SDKs read from a `credential_process`. */
export interface RoleCredentials {
  readonly text: string;
  /** ms since 1970 */
  readonly expiresAt: number;
}

/** CloudTrail shows the job's id as the session's name. Throws `FreezerError` `notHere` when STS refuses or does not answer. */
export async function assumeRole(role: AwsRole, jobId: string, signal: AbortSignal): Promise<RoleCredentials> {
  // The SDK takes a while to load, so only those who use it do.
  const { AssumeRoleCommand, STSClient } = await import('@aws-sdk/client-sts');
  const client = new STSClient({
    ...(role.region && { region: role.region }),
    maxAttempts: attempts,
    requestHandler: { connectionTimeout: connectionTimeoutMs, requestTimeout: answerTimeoutMs },
  });
  const command = new AssumeRoleCommand({
    RoleArn: role.roleArn,
    RoleSessionName: `floe-${jobId}`.slice(0, 64),
    DurationSeconds: role.durationSeconds,
    ...(role.externalId !== undefined && { ExternalId: role.externalId }),
    ...(role.policy !== undefined && { Policy: role.policy }),
  });
  try {
    const { Credentials: given } = await client.send(command, { abortSignal: signal });
    if (!given?.AccessKeyId || !given.SecretAccessKey || !given.SessionToken || !given.Expiration) {
      throw new Error('the answer has no credentials');
    }
    const { AccessKeyId, SecretAccessKey, SessionToken, Expiration } = given;
    const form = { Version: 1, AccessKeyId, SecretAccessKey, SessionToken, Expiration: Expiration.toISOString() };
    return { text: `${JSON.stringify(form)}\n`, expiresAt: Expiration.getTime() };
  } catch (cause) {
    signal.throwIfAborted();
    const why = cause instanceof Error ? `${cause.name}: ${cause.message.replace(/\.$/, '')}` : String(cause);
    const remedy =
      "Let the worker's own credentials assume the role, and the role's trust policy allow it; check the way to STS.";
    throw new FreezerError('notHere', `This worker cannot assume ${role.roleArn}: ${why}.`, remedy, { cause });
  } finally {
    client.destroy();
  }
}
