// node --test gateway/web

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NOTHING, audienceName, fold, hue, initials, isEnded, openRequests, pretty, refuse } from './conversation.js';

const NAMES = { triage: 'TriageAgent', refund: 'RefundAgent' };

/** A conversation told in a few words; every event is an entry of its own. */
class Story {
  view = NOTHING;
  ordinal = 0;

  happens(from, phase, kind, data = {}, more = {}) {
    const id = `${this.ordinal++}.0`;
    const event = { id, kind, time_ms: 1000, from, name: NAMES[from] ?? from, owner: 'triage', phase, trace: 't', data, ...more };
    this.view = fold(this.view, kind, event);
    return id;
  }

  starts(text = 'Hello') { return this.happens('gateway', 'working', 'opened', { input: [{ role: 'user', text }], human: true }); }
  responds(text, calls) { return this.happens('triage', 'working', 'responded', { text, calls }); }
  returns(call, content, is_error) { return this.happens('triage', 'working', 'returned', { call, tool: 'x', content, is_error }); }
  asks(kind, more = {}) {
    const request = { id: `${this.ordinal}.0`, kind, audience: 'caller', agent: 'triage', text: '', ...more };
    return this.happens('triage', 'waiting', 'asked', { kind }, { request });
  }
  streams(text, final = false, agent = 'triage') { this.view = fold(this.view, 'token', { agent, name: NAMES[agent], text, final }); }
  resets() { this.view = fold(this.view, 'reset', { agent: null, name: null }); }

  /** What is read, one word of type and one text each. */
  get read() {
    return this.view.items.map((item) => [item.type, item.text ?? item.tool ?? item.kind].join(' '));
  }
  get drafts() { return this.view.drafts.map(({ text, final }) => text + (final ? '.' : '…')); }
  last(type) { return this.view.items.findLast((item) => item.type === type); }
}

const call = (id, name = 'pay', args = '{"amount":1}') => ({ id, name, arguments: args });

test('pieces make a draft, and its answer takes its place on the page', () => {
  const story = new Story();
  story.starts();
  story.streams('How ');
  story.streams('can I hel');
  assert.deepEqual(story.drafts, ['How can I hel…']);
  const { key } = story.view.drafts[0];
  story.streams('p?', true);
  assert.deepEqual(story.drafts, ['How can I help?.']);
  story.responds('How can I help?');
  assert.deepEqual(story.drafts, []);
  assert.deepEqual(story.read, ['message Hello', 'message How can I help?']);
  assert.equal(story.last('message').key, key);
});

test('answers settle drafts oldest first, and one without a text settles none', () => {
  const story = new Story();
  story.streams('Let me look', true);
  story.streams('It has');
  assert.deepEqual(story.drafts, ['Let me look.', 'It has…']);
  story.responds(undefined, [call('c1')]);
  assert.deepEqual(story.drafts, ['Let me look.', 'It has…']);
  story.responds('Let me look');
  assert.deepEqual(story.drafts, ['It has…']);
  story.streams(' shipped', true);
  story.responds('It has shipped');
  assert.deepEqual(story.read, ['call pay', 'message Let me look', 'message It has shipped']);
});

test('the answer holds, not what was streamed of it', () => {
  const story = new Story();
  story.streams('I prom');
  story.responds('I cannot promise that.');
  assert.deepEqual([story.read, story.drafts], [['message I cannot promise that.'], []]);
});

test('a reset drops every draft and nothing else', () => {
  const story = new Story();
  story.responds('Settled');
  story.streams('one', true);
  story.streams('two');
  const first = story.view.drafts[0].key;
  story.resets();
  assert.deepEqual([story.read, story.drafts], [['message Settled'], []]);
  story.streams('again');
  assert.deepEqual(story.drafts, ['again…']);
  assert.notEqual(story.view.drafts[0].key, first);
});

test('what did not change stays the same object', () => {
  const story = new Story();
  story.starts();
  story.responds('One', [call('c1')]);
  story.streams('T');
  const { items, drafts } = story.view;
  story.streams('wo');
  assert.equal(story.view.items, items);
  assert.notEqual(story.view.drafts[0], drafts[0]);
  story.returns('c1', 'paid');
  assert.equal(story.view.items[1], items[1]);
  assert.notEqual(story.view.items[2], items[2]);
  assert.equal(items[2].state, 'running', 'an old view is never changed');
});

test('people, by name where they have one; messages that are nobody\'s own are set apart', () => {
  const story = new Story();
  const input = [{ role: 'system', text: 'Be kind.' }, { role: 'user', name: 'Ann', text: 'Hi' }];
  story.happens('gateway', 'working', 'opened', { input, human: true });
  assert.deepEqual(story.view.items.map(({ name, isAside }) => [name, isAside]), [[undefined, true], ['Ann', false]]);
  assert.equal(new Set(story.view.items.map(({ key }) => key)).size, 2);
});

test('a question to the caller is the answer before it, and is open until it is answered', () => {
  const story = new Story();
  story.responds('Which order?');
  const request = story.asks('question', { text: 'Which order?' });
  assert.deepEqual(story.view.question, { id: request, agent: 'triage', name: 'TriageAgent' });
  assert.deepEqual(story.read, ['message Which order?']);
  story.happens('gateway', 'working', 'replied', { request, text: '123' });
  assert.equal(story.view.question, null);
  assert.deepEqual(story.read, ['message Which order?', 'message 123']);
  assert.equal(story.last('message').name, undefined);
});

test('a question with words of its own says them', () => {
  const story = new Story();
  story.responds('Let me see.');
  story.asks('question', { text: 'Which order?' });
  assert.deepEqual(story.read, ['message Let me see.', 'message Which order?']);
});

test('what people say who play an agent is said once, by that agent', () => {
  const story = new Story();
  story.starts('I paid twice');
  const turn = { audience: 'desk:till', agent: 'refund', turn: true, text: 'User: I paid twice' };
  const first = story.asks('question', turn);
  story.happens('gateway', 'working', 'replied', { request: first, text: 'Which invoice?', by: 'Ann' });
  assert.deepEqual(story.last('request').outcome, { verdict: 'answered' });
  story.happens('refund', 'working', 'responded', { text: 'Which invoice?' });
  assert.deepEqual(story.read, ['message I paid twice', 'request User: I paid twice', 'message Which invoice?']);
  assert.deepEqual([story.last('message').name, story.last('message').agent], ['RefundAgent', 'refund']);
  // A handoff's reason is the handoff's, not something said.
  const second = story.asks('question', turn);
  const action = { transfer: { to: 'triage' } };
  story.happens('gateway', 'working', 'replied', { request: second, text: 'not ours', action, by: 'Ann' });
  story.happens('refund', 'working', 'transferred', { to: 'triage', reason: 'not ours' });
  assert.deepEqual(story.read.slice(-2), ['request User: I paid twice', 'transfer not ours']);
});

test('what a desk answers that an agent has asked is said by the desk', () => {
  const story = new Story();
  const request = story.asks('question', { audience: 'desk:till', text: 'Is it paid?' });
  story.happens('gateway', 'working', 'replied', { request, text: 'Yes', by: 'Ann' });
  assert.deepEqual([story.last('message').name, story.last('message').text], ['the till desk', 'Yes']);
});

test('a call ends with its result or its error, and a later call of the same id is another one', () => {
  const story = new Story();
  story.responds('', [call('c1'), call('c2', 'look')]);
  story.returns('c2', 'no such order', true);
  story.returns('c1', 'paid');
  story.responds('', [call('c1')]);
  const states = () => story.view.items.map(({ tool, state, result }) => `${tool} ${state} ${result}`);
  assert.deepEqual(states(), ['pay done paid', 'look failed no such order', 'pay running null']);
  story.happens('gateway', 'working', 'interrupted', { text: 'Stop' });
  assert.equal(story.last('call').state, 'lost');
});

test('a transfer is one line, not a call', () => {
  const story = new Story();
  story.responds('', [call('c1', 'transfer_to_refund', '{}')]);
  story.happens('triage', 'working', 'transferred', { to: 'refund', call: 'c1', reason: 'Wants money' }, { to_name: 'RefundAgent' });
  assert.deepEqual(story.read, ['transfer Wants money']);
  const { agent, name, to, toName } = story.last('transfer');
  assert.deepEqual({ agent, name, to, toName }, { agent: 'triage', name: 'TriageAgent', to: 'refund', toName: 'RefundAgent' });
});

test('an approval waits, its call with it, until it is decided', () => {
  const story = new Story();
  story.responds('', [call('c1')]);
  const request = story.asks('approval', { audience: 'role:finance', call: call('c1'), arguments_hash: 'h', due_secs: 60 });
  assert.deepEqual(openRequests(story.view).map(({ key, hash, due }) => ({ key, hash, due })), [{ key: request, hash: 'h', due: 60 }]);
  assert.equal(story.last('call').state, 'waiting');
  story.happens('gateway', 'waiting', 'claimed', { request, by: 'Bob' });
  assert.equal(story.last('request').claimedBy, 'Bob');
  story.happens('gateway', 'working', 'decided', { request, verdict: 'approved', by: 'Ann', note: 'Fair' });
  assert.deepEqual(story.last('request').outcome, { verdict: 'approved', by: 'Ann', note: 'Fair' });
  assert.deepEqual([openRequests(story.view), story.last('call').state], [[], 'running']);
});

test('one decision of two leaves the other open', () => {
  const story = new Story();
  story.responds('', [call('c1'), call('c2')]);
  const [first, second] = [story.asks('approval', { call: call('c1') }), story.asks('approval', { call: call('c2') })];
  story.happens('gateway', 'waiting', 'decided', { request: first, verdict: 'denied' });
  assert.deepEqual(openRequests(story.view).map(({ key }) => key), [second]);
});

test('a desk answers a question in a card, under its own name', () => {
  const story = new Story();
  const request = story.asks('question', { audience: 'desk:returns', text: 'Opened?' });
  assert.equal(story.view.question, null);
  assert.deepEqual(story.read, ['request Opened?']);
  story.happens('gateway', 'working', 'replied', { request, text: 'Yes' });
  assert.deepEqual([story.last('request').outcome.verdict, story.last('message').name], ['answered', 'the returns desk']);
});

test('requests that nobody waits for any more are withdrawn', () => {
  const story = new Story();
  story.asks('question', { text: 'Which?' });
  const request = story.asks('approval', { call: call('c1') });
  story.happens('coordinator', 'working', 'reassigned', { to: 'refund', by: 'operator' });
  assert.deepEqual([story.view.question, openRequests(story.view)], [null, []]);
  assert.equal(story.view.items.find(({ key }) => key === request).outcome.verdict, 'withdrawn');
});

test('the end says how, and repeats nothing', () => {
  const ended = (kind, phase, data) => {
    const story = new Story();
    story.responds('All done.', [call('c1')]);
    story.streams('never to be record');
    story.happens('triage', phase, kind, data);
    assert.ok(isEnded(story.view));
    assert.deepEqual([story.drafts, story.last('call').state], [[], 'lost']);
    const { title, text } = story.last('end');
    return `${title}: ${text}`;
  };
  assert.equal(ended('completed', 'completed', { because: 'task_complete', result: 'Refunded.' }), 'Completed: Refunded.');
  assert.equal(ended('completed', 'completed', { because: 'answered', result: 'All done.' }), 'Completed: ');
  assert.equal(ended('completed', 'completed', { because: 'user_ended', result: '' }), 'The conversation was ended: ');
  assert.equal(ended('completed', 'completed', { because: 'task_complete', result: 'x', value: { a: 1 } }), 'Completed: {\n  "a": 1\n}');
  assert.equal(ended('failed', 'failed', { code: 'model_error', detail: 'No key.' }), 'Failed: model error: No key.');
  assert.equal(ended('cancelled', 'cancelled', { reason: 'Too slow' }), 'Called off: Too slow');
});

test('a refusal is shown in the gateway\'s words', () => {
  const view = refuse(NOTHING, 'there is no conversation x');
  assert.deepEqual(view.items.map(({ type, text }) => [type, text]), [['end', 'there is no conversation x']]);
});

test('what happens behind the scenes is told dimly, and what is newer than this page is not lost', () => {
  const story = new Story();
  story.happens('triage', 'working', 'taken', { by: 'triage-2', delivered: 2 });
  story.happens('triage', 'working', 'warned', { code: 'x', detail: 'Odd.' });
  story.happens('triage', 'working', 'intended', { calls: [] });
  story.happens('triage', 'working', 'pondered', { bytes: 3 });
  assert.deepEqual(story.read, ['notice another worker took over: triage-2', 'notice Odd.', 'notice something newer than this page: pondered']);
  assert.deepEqual(story.view.items.map(({ isWarning }) => isWarning), [false, true, false]);
  assert.deepEqual([story.view.phase, story.view.owner], ['working', 'triage']);
});

test('arguments are laid out as they are: every digit, both of two equal keys, brackets in strings', () => {
  assert.equal(pretty('{"n":12345678901234567890.10,"a":"x","a":"{,:}","l":[1,true],"o":{},"e":[ ]}'), `{
  "n": 12345678901234567890.10,
  "a": "x",
  "a": "{,:}",
  "l": [
    1,
    true
  ],
  "o": {},
  "e": []
}`);
  assert.equal(pretty('"gr\\u00fcn \\"x\\""'), '"grün \\"x\\""');
  assert.equal(pretty('{"order_id": 1'), '{"order_id": 1');
});

test('nothing in arguments is invisible or turns what stands around it', () => {
  assert.equal(pretty('{"to":"ann\\u202emoc.live"}'), '{\n  "to": "ann\\u202emoc.live"\n}');
  assert.equal(pretty('{"to":"ann\u202emoc.live\u200b"}'), '{\n  "to": "ann\\u202emoc.live\\u200b"\n}');
  assert.equal(pretty('no JSON \u2066'), 'no JSON \\u2066');
});

test('initials and colours', () => {
  const names = ['TriageAgent', 'OrderStatusAgent', 'Travel Desk', 'Agent', 'x', ''];
  assert.deepEqual(names.map(initials), ['Tr', 'OS', 'TD', 'Ag', 'X', '?']);
  const agents = [{ name: 'a' }, { name: 'b' }];
  assert.notEqual(hue('a', agents), hue('b', agents));
  assert.equal(hue('gone', agents), hue('gone', []));
  assert.deepEqual(['caller', 'desk:returns', 'role:finance'].map(audienceName), [undefined, 'the returns desk', 'the finance role']);
});
