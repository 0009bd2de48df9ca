// node --test gateway/web

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Problem, call, follow, newKey, parser } from './gateway.js';

const json = (status, body, headers) => new Response(JSON.stringify(body), { status, headers });
const away = () => json(503, { code: 'unavailable', detail: 'the broker is away' }, { 'retry-after': '9' });
const stream = (...chunks) => () => new Response(new ReadableStream({
  start(controller) {
    for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
    controller.close();
  },
}));
const broken = () => { throw new TypeError('network error'); };

/** A network that gives these answers in turn, and waits that are over at once; returns what was asked, and the waits. */
function network(t, ...answers) {
  const [asked, waits] = [[], []];
  t.mock.method(globalThis, 'fetch', async (path, { method = 'GET', headers, body }) => {
    asked.push({ method, path, headers, body });
    return answers.shift()();
  });
  t.mock.method(globalThis, 'setTimeout', (run, ms) => {
    if (ms === 40_000) return; // The watch over a stream's silence.
    waits.push(ms);
    setImmediate(run);
  });
  t.mock.method(console, 'warn', () => {});
  return { asked, waits, answers };
}

test('a call that was not answered is repeated with the same key', async (t) => {
  const { asked, waits } = network(t, broken, away, () => json(201, { ordinal: 4 }));
  assert.deepEqual(await call('POST', 'v1/x', { body: { text: 'Hi' }, key: 'k' }), { ordinal: 4 });
  assert.equal(asked.length, 3);
  for (const { headers, body } of asked) assert.deepEqual([headers['idempotency-key'], body], ['k', '{"text":"Hi"}']);
  assert.ok(waits[0] >= 500 && waits[0] < 1000, 'half a second first');
  assert.ok(waits[1] >= 9000, 'as long as the gateway says');
});

test('an answer that is lost half-way is asked for again', async (t) => {
  network(t, () => new Response('{"ordi'), () => json(200, { ordinal: 4, repeat: true }));
  assert.deepEqual(await call('POST', 'v1/x', { body: {}, key: 'k' }), { ordinal: 4, repeat: true });
});

test('a no is a no', async (t) => {
  const { asked } = network(t, () => json(409, { code: 'already_answered', detail: 'request 3.1 has been answered already' }));
  await assert.rejects(call('POST', 'v1/x', { body: {}, key: 'k' }), (problem) =>
    problem instanceof Problem && problem.status === 409 && problem.code === 'already_answered' && /3\.1/.test(problem.message));
  assert.equal(asked.length, 1);
});

test('a call gives up in the end, with a problem in words', async (t) => {
  const { asked } = network(t, ...Array(6).fill(broken));
  await assert.rejects(call('GET', 'v1/x'), (problem) => problem instanceof Problem && /cannot be reached/.test(problem.message));
  assert.equal(asked.length, 6);
});

async function followed(t, ...answers) {
  const net = network(t, ...answers);
  const [messages, states] = [[], []];
  await follow('v1/events', {
    signal: new AbortController().signal,
    onMessage: (event, data) => messages.push([event, data]),
    onState: (state, problem) => states.push(problem ? `${state} ${problem.status}` : state),
  });
  return { messages, states, ...net };
}

test('a stream goes on where it broke, until nothing more is to come', async (t) => {
  const { messages, states, asked } = await followed(t,
    stream('retry: 500\n\nid: 0.0\nevent: opened\ndata: 1\n\nevent: token\nda', 'ta: 2\n\n'),
    broken, away,
    stream('event: reset\ndata: 3\n\nid: 1.0\nevent: completed\ndata: 4\n\n'),
    () => new Response(null, { status: 204 }));
  assert.deepEqual(messages, [['opened', 1], ['token', 2], ['reset', 3], ['completed', 4]]);
  assert.deepEqual(asked.map(({ headers }) => headers['last-event-id']), [undefined, '0.0', '0.0', '0.0', '1.0']);
  assert.deepEqual(states, ['connecting', 'live', 'lost', 'lost', 'lost', 'live', 'lost', 'over']);
});

test('a stream that is refused is not asked for again', async (t) => {
  const { states, asked } = await followed(t, () => json(404, { code: 'unknown_conversation' }));
  assert.deepEqual([states, asked.length], [['connecting', 'gone 404'], 1]);
});

test('nobody is told of a stream that was left', async (t) => {
  const left = new AbortController();
  const messages = [];
  network(t, stream('data: 1\n\ndata: 2\n\n'));
  await follow('v1/events', {
    signal: left.signal, onState: () => {}, onMessage: (_, data) => { messages.push(data); left.abort(); },
  });
  assert.deepEqual(messages, [1]);
});

test('messages are parsed wherever the stream is cut', () => {
  const text = ': beat\n\nid: 1.0\r\nevent: said\r\ndata: {"a":\r\ndata: "ü: x"}\r\n\r\nretry: 5\n\ndata:\n\nid\ndata: y\n\n';
  const expected = [
    { event: 'said', id: '1.0', data: '{"a":\n"ü: x"}' }, { event: 'message', data: '' }, { event: 'message', id: '', data: 'y' },
  ];
  for (let cut = 0; cut <= text.length; cut += 1) {
    const parse = parser();
    assert.deepEqual([...parse(text.slice(0, cut)), ...parse(text.slice(cut))], expected, `cut at ${cut}`);
  }
});

test('keys differ, with or without randomUUID', (t) => {
  assert.notEqual(newKey(), newKey());
  t.mock.method(crypto, 'randomUUID');
  crypto.randomUUID = undefined;
  assert.match(newKey(), /^[0-9a-f]{32}$/);
});
