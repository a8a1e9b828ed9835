/** A plain HTTP client with a cookie, as little as the dashboard's tests need. */
export class Client {
  readonly #url: string;
  #cookie = '';

  constructor(url: string) {
    this.#url = url;
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    const all = { accept: 'text/html', cookie: this.#cookie, ...headers };
    return fetch(`${this.#url}${path}`, { headers: all, redirect: 'manual' });
  }

  /** `method` other than GET, from the dashboard's own origin unless `headers` say otherwise. */
  async send(method: string, path: string, form = '', headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${this.#url}${path}`, {
      method,
      headers: {
        accept: 'text/html',
        'content-type': 'application/x-www-form-urlencoded',
        origin: this.#url,
        cookie: this.#cookie,
        ...headers,
      },
      body: form,
      redirect: 'manual',
    });
  }

  async login(username: string, password: string, headers: Record<string, string> = {}): Promise<Response> {
    const form = new URLSearchParams({ username, password }).toString();
    const response = await this.send('POST', '/login', form, headers);
    this.#cookie = response.headers.getSetCookie()[0]?.split(';')[0] ?? this.#cookie;
    return response;
  }
}
