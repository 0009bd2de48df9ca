// The gateway, as docs/gateway.md describes it: calls that are repeated until they are answered, and a stream that is
// resumed until there is nothing more to come. Knows nothing of the page.

/** The gateway says no, in words for people; `code` is the word for programs. */
export class Problem extends Error {
  constructor(status, { detail, title, code } = {}) {
    super(detail ?? title ?? `the gateway answered with ${status}`);
    Object.assign(this, { status, code });
  }

  static async of(response) {
    const problem = new Problem(response.status, await response.json().catch(() => undefined));
    return Object.assign(problem, { waitMs: Number(response.headers.get('retry-after')) * 1000 || 0 });
  }

  /** Whether the same call may well succeed later. */
  get isPassing() {
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** A key for an Idempotency-Key. Pages that were not loaded securely have no randomUUID. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const REPEATS_MAX = 5;
const CALL_MS = 20_000;
/** A comment comes every 15 s: a stream that is silent for longer is dead, whatever the connection says. */
const SILENCE_MS = 40_000;

/**
 * Makes a call. An answer that was lost may have been given: the call is repeated with the same key, so that it happens
 * once, and so may the caller do after the error that ends this one.
 */
export async function call(method, path, { body, key, repeatsMax = REPEATS_MAX } = {}) {
  const headers = { ...(body && { 'content-type': 'application/json' }), ...(key && { 'idempotency-key': key }) };
  for (let repeats = 0; ; repeats += 1) {
    try {
      const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(CALL_MS) });
      if (response.ok) return await response.json();
      throw await Problem.of(response);
    } catch (error) {
      if (error instanceof Problem && !error.isPassing) throw error;
      if (repeats === repeatsMax) throw error instanceof Problem ? error : new Problem(0, { detail: 'the gateway cannot be reached' });
      await pause(repeats, error.waitMs);
    }
  }
}

/**
 * Follows a stream across connections until `signal` aborts it or nothing more is to come. `onMessage` gets each
 * message's event and data; `onState` gets `connecting`, `live`, `lost`, `over`, or `gone` with the problem.
 *
 * Not an EventSource: that one hides why it was refused, gives up on a 503, and does not notice a dead connection.
 */
export async function follow(path, { signal, onMessage, onState }) {
  let last = null;
  for (let failures = 0; ; failures += 1) {
    onState(failures ? 'lost' : 'connecting');
    if (failures) await pause(failures - 1);
    if (signal.aborted) return;
    try {
      const response = await fetch(path, { signal, headers: last ? { 'last-event-id': last } : {} });
      if (response.status === 204) return onState('over');
      if (!response.ok) throw await Problem.of(response);
      onState('live');
      for await (const { id, event, data } of messages(response.body)) {
        if (signal.aborted) return;
        failures = 0;
        last = id ?? last;
        onMessage(event, JSON.parse(data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && !error.isPassing) return onState('gone', error);
      console.warn('the stream broke and will be resumed:', error);
    }
  }
}

/** The messages of a body, until it ends or falls silent. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parse = parser();
  for (;;) {
    const silence = setTimeout(() => reader.cancel(), SILENCE_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(silence));
    if (done) return;
    yield* parse(value);
  }
}

/** Server-sent events: takes text as it arrives, gives the messages that are complete with it. */
export function parser() {
  let rest = '';
  let message = {};
  return (chunk) => {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop();
    const complete = [];
    for (const line of lines) {
      const [, field, value] = line.match(/^([^:]*):? ?(.*)$/s);
      if (line === '') {
        if (message.data !== undefined) complete.push({ event: 'message', ...message });
        message = {};
      } else if (field === 'data') {
        message.data = message.data === undefined ? value : `${message.data}\n${value}`;
      } else if (field === 'event' || field === 'id') {
        message[field] = value;
      }
    }
    return complete;
  };
}

/** Half a second, one, two … eight, or longer if told so; give or take, so that a crowd does not come back at once. */
function pause(failures, toldMs = 0) {
  const ms = Math.max(Math.min(500 * 2 ** failures, 8000), toldMs);
  return new Promise((resolve) => setTimeout(resolve, ms * (1 + Math.random() / 2)));
}
