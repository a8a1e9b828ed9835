/** From a store URL to a store. */
import { fileURLToPath } from 'node:url';
import { hideCredentials } from '../base/redact.ts';
import { checkKey } from './rules.ts';
import { type Store, StoreError } from './store.ts';

export interface StoreOptions {
  /** Keys per page of a listing, on S3. Default: 1000. For tests of paging. */
  readonly pageSizeKeys?: number;
}

/** What an `s3://` URL says. Credentials never are in it: they come from the SDK's default chain. */
export interface S3Location {
  /** Normalised. */
  readonly url: string;
  readonly bucket: string;
  /** Empty, or ends in `/`. */
  readonly prefix: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly pathStyle?: boolean;
}

/**
 * Opens a store; nothing is asked of it yet, see `Store.check` for that.
 *
 * - `file:///absolute/folder`
 * - `s3://bucket/prefix`, with the optional parameters `endpoint=http://host:port`, `region=…` and `path-style=true|false`.
 *   Without them the SDK's own configuration counts: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION`, profiles,
 *   and for credentials the environment, profiles, and the roles of instances, containers and web identities.
 *   With an endpoint of its own a store is addressed by path, in region `us-east-1`, unless told otherwise.
 *
 * @throws StoreError `invalid` for a URL that is none of these
 */
export async function openStore(url: string, options: StoreOptions = {}): Promise<Store> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === 'file:') {
    const { openDirectoryStore } = await import('./directory.ts');
    return openDirectoryStore(folderOf(parsed, url));
  }
  if (parsed?.protocol === 's3:') {
    const location = locationOf(parsed, url);
    // The SDK takes a while to load, so only those who use it do.
    const { openS3Store } = await import('./s3.ts');
    return openS3Store(location, options);
  }
  throw notAStore(url, 'it begins with neither file:// nor s3://');
}

function folderOf(parsed: URL, url: string): string {
  if (parsed.host) throw notAStore(url, `it names the host "${parsed.host}"; a path has three slashes, file:///…`);
  if (!url.startsWith('file:///')) throw notAStore(url, 'the path is not absolute');
  if (parsed.search || parsed.hash) throw notAStore(url, 'file:// takes no parameters');
  try {
    return fileURLToPath(parsed).replace(/(?<=.)\/+$/, '');
  } catch (cause) {
    throw notAStore(url, 'the path cannot be read', cause);
  }
}

function locationOf(parsed: URL, url: string): S3Location {
  if (parsed.username || parsed.password) {
    throw notAStore(url, 'credentials do not belong in it: use AWS_ACCESS_KEY_ID, a profile or a role');
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(parsed.host)) throw notAStore(url, `"${parsed.host}" is not a bucket`);
  const path = parsed.pathname.replace(/^\/+|\/+$/g, '');
  if (path) checkKey(path);

  const parameters = new Map(parsed.searchParams);
  const take = (name: string) => {
    const value = parameters.get(name);
    parameters.delete(name);
    return value;
  };
  const [endpoint, region, pathStyle] = [take('endpoint'), take('region'), take('path-style')];
  if (endpoint !== undefined && !(URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol))) {
    throw notAStore(url, `endpoint "${hideCredentials(endpoint)}" is not an http:// or https:// URL`);
  }
  if (endpoint !== undefined && (new URL(endpoint).username || new URL(endpoint).password)) {
    throw notAStore(url, 'credentials do not belong in its endpoint: use AWS_ACCESS_KEY_ID, a profile or a role');
  }
  if (region === '') throw notAStore(url, 'region is empty');
  if (pathStyle !== undefined && !['true', 'false'].includes(pathStyle)) {
    throw notAStore(url, `path-style is "${pathStyle}", not true or false`);
  }
  for (const name of parameters.keys()) throw notAStore(url, `"${name}" is not a parameter`);

  return {
    url,
    bucket: parsed.host,
    prefix: path && `${path}/`,
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    ...(pathStyle !== undefined && { pathStyle: pathStyle === 'true' }),
  };
}

function notAStore(url: string, reason: string, cause?: unknown): StoreError {
  return new StoreError(
    'invalid',
    `"${hideCredentials(url)}" is not a store URL: ${reason}.`,
    'Use file:///folder or s3://bucket/prefix?endpoint=…&region=…&path-style=true.',
    { cause },
  );
}
