// Asks the server. All addresses lie below /v1; answers are JSON; a refusal carries one sentence.

const ROOT = '/v1';
const PATIENCE = 30_000; // milliseconds; longer work is a job

/** The server has answered that it will not: its sentence, its status and its whole answer. */
export class Refusal extends Error {
  constructor(status, body) {
    super(typeof body?.detail === 'string' ? body.detail : body?.detail?.message ?? `The server answers ${status}.`);
    Object.assign(this, { status, body });
  }
}

/** The server has not answered. */
export class Unreachable extends Error {
  constructor() {
    super('The server does not answer; is `ultrasam annotate` running?');
  }
}

/**
 * The answer to a request, as JSON.
 *
 * Throws Refusal, Unreachable, or an AbortError if `signal` has aborted.
 */
export async function ask(path, { method = 'GET', body, signal, patience = PATIENCE, keepalive = false } = {}) {
  const waiting = AbortSignal.timeout(patience);
  const headers = method === 'GET' ? {} : { 'X-UltraSam': '1' };
  const isForm = body instanceof FormData; // whose content type the browser writes
  if (method !== 'GET' && !isForm) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(ROOT + path, {
      method,
      headers,
      body: method === 'GET' ? undefined : isForm ? body : JSON.stringify(body ?? {}),
      signal: signal ? AbortSignal.any([signal, waiting]) : waiting,
      credentials: 'same-origin',
      keepalive, // so that it is sent although the page goes
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable();
  }
  const found = await response.json().catch(() => null);
  if (!response.ok) throw new Refusal(response.status, found);
  return found;
}

export const post = (path, body, options) => ask(path, { method: 'POST', body, ...options });
export const patch = (path, body) => ask(path, { method: 'PATCH', body });
export const put = (path, body) => ask(path, { method: 'PUT', body });

/** Send a file. */
export function upload(path, file) {
  const body = new FormData();
  body.append('file', file);
  return post(path, body, { patience: 600_000 });
}

export const remove = (path) => ask(path, { method: 'DELETE' });

/** The address of something that the browser loads itself. */
export const addressOf = (path) => ROOT + path;

/** Listen to the server's events, by what they are of: {event: listener(data)}. */
export function listenToEvents(listeners) {
  const source = new EventSource(`${ROOT}/events`);
  for (const [name, listener] of Object.entries(listeners)) {
    source.addEventListener(name, ({ data }) => listener(JSON.parse(data)));
  }
}

/** A random identifier. (crypto.randomUUID is missing where the page comes over plain HTTP from another machine.) */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return [[0, 8], [8, 12], [12, 16], [16, 20], [20, 32]].map(([from, to]) => hex.slice(from, to)).join('-');
}
