// What a page shows of a conversation, folded from what the gateway streams. Pure: no page, no network, no clock.
//
// A view is never changed, only replaced, and what did not change in it stays the same object: whoever draws it compares
// with ===. Its items are what people read, in the journal's order; its drafts are live text, which is only promised.

/** The view before anything has happened. */
export const NOTHING = { phase: null, owner: null, question: null, items: [], drafts: [], draftsBegun: 0 };

/** The view after one more message of the stream: `kind` is its event, `data` its parsed data. */
export function fold(view, kind, data) {
  if (kind === 'token') return extend(view, data);
  if (kind === 'reset') return { ...view, drafts: [] };
  const { owner, phase } = data;
  const next = { ...(EVENTS[kind] ?? unknown)(view, data, data.data ?? {}), owner, phase };
  return phase === 'waiting' ? next : withdraw(next);
}

/** The view when the gateway will tell no more, and says why. */
export const refuse = (view, text) =>
  ends(view, { id: 'refused', phase: 'failed' }, 'This conversation cannot be shown', text);

/** Whether nothing more can come. */
export const isEnded = (view) => ['completed', 'failed', 'cancelled', 'erased'].includes(view.phase);

/** The requests that wait for somebody, but for a question to the caller: that one is the view's `question`. */
export const openRequests = (view) => view.items.filter((item) => item.type === 'request' && item.outcome === null);

// Live text: a piece extends the last draft that is not final, or begins one; an answer settles the oldest.

function extend(view, { agent, name, text, final }) {
  const last = view.drafts.at(-1);
  if (last && !last.final) {
    return { ...view, drafts: view.drafts.with(-1, { ...last, text: last.text + text, final }) };
  }
  const draft = { key: `draft-${view.draftsBegun}`, type: 'message', isDraft: true, agent, name, text, final };
  return { ...view, drafts: [...view.drafts, draft], draftsBegun: view.draftsBegun + 1 };
}

// Events. Each takes the view, the event, and the event's own fields.

const EVENTS = {
  __proto__: null,
  opened: (view, event, { input }) => input.reduce((view, message, index) => {
    const fields = { name: message.name, text: message.text, isAside: message.role !== 'user' };
    return says(view, event, { key: `${event.id}/${index}`, ...fields });
  }, view),
  said: (view, event, { text }) => says(view, event, { text }),
  interrupted: (view, event, { text }) => says(loseCalls(view), event, { text }),
  replied: (view, event, { request, text }) => {
    const asked = view.items.find((item) => item.key === request);
    const settled = settle(loseCalls(view), request, { verdict: 'answered' });
    // Who plays an agent speaks as that agent: what it says, or does, follows.
    if (asked?.isTurn) return settled;
    return says(settled, event, { name: asked && audienceName(asked.audience), text });
  },

  responded(view, event, { text, calls = [] }) {
    let next = view;
    if (text) {
      // The answer takes its draft's place on the page: the same key, now with the whole text.
      const [draft, ...drafts] = view.drafts;
      next = { ...add(view, event, 'message', { key: draft?.key ?? event.id, agent: event.from, text }), drafts };
    }
    const tools = calls.filter(({ name }) => !name.startsWith('transfer_to_') && name !== 'complete_task');
    return tools.reduce((next, { id, name, arguments: args }) => {
      const fields = { key: `${event.id}/${id}`, call: id, tool: name, arguments: args, state: 'running', result: null };
      return add(next, event, 'call', { agent: event.from, ...fields });
    }, next);
  },
  returned: (view, event, { call, content, is_error }) =>
    amendCall(view, call, { state: is_error ? 'failed' : 'done', result: content }),

  asked(view, event) {
    const { id, kind, audience, agent, turn: isTurn = false, text, call, arguments_hash: hash, due_secs: due } = event.request;
    if (kind === 'question' && audience === 'caller') {
      const asks = { ...view, question: { id, agent, name: event.name } };
      const isSaid = view.items.findLast((item) => item.type === 'message')?.text === text;
      return isSaid || !text ? asks : add(asks, event, 'message', { agent, text });
    }
    const fields = { key: id, kind, audience, agent, isTurn, text, call, hash, due, claimedBy: null, outcome: null };
    const waits = call ? amendCall(view, call.id, { state: 'waiting' }) : view;
    return add(waits, event, 'request', fields);
  },
  decided(view, event, { request, verdict, note = '', by = '' }) {
    const { call } = view.items.find((item) => item.key === request) ?? {};
    return settle(call ? amendCall(view, call.id, { state: 'running' }) : view, request, { verdict, note, by });
  },
  claimed: (view, event, { request, by }) => amend(view, (item) => item.key === request, { claimedBy: by }),

  transferred: (view, event, { to, reason = '' }) =>
    add(loseCalls(view), event, 'transfer', { agent: event.from, to, toName: event.to_name ?? to, text: reason }),
  reassigned: (view, event, { to, by }) =>
    add(loseCalls(view), event, 'transfer', { agent: null, name: by, to, toName: event.to_name ?? to, text: '' }),
  continued: (view, event, { because }) =>
    because === 'autonomous' ? notice(loseCalls(view), event, `${event.name} goes on by itself`) : loseCalls(view),

  warned: (view, event, { detail }) => add(view, event, 'notice', { isWarning: true, text: detail }),
  taken: (view, event, { by }) => notice(view, event, `another worker took over: ${by}`),
  deferred: (view, event, { wait_secs, reason }) => notice(view, event, `put off for ${wait_secs} s: ${reason}`),
  'handed-back': (view, event, { reason }) => notice(view, event, `the worker gave its turn back: ${reason}`),
  'set-aside': (view, event, { what }) => notice(view, event, `waits for a newer worker: ${what}`),
  redispatched: (view, event, { reason }) => notice(view, event, `the turn was handed out again: ${reason}`),
  intended: (view) => view,
  snapshotted: (view) => view,

  completed(view, event, { because, result, value }) {
    const title = because === 'user_ended' ? 'The conversation was ended' : 'Completed';
    const isSaid = view.items.findLast((item) => item.type === 'message')?.text === result;
    const text = value === undefined ? (isSaid ? '' : result) : JSON.stringify(value, null, 2);
    return ends(view, event, title, text);
  },
  failed: (view, event, { code, detail }) => ends(view, event, `Failed: ${code.replaceAll('_', ' ')}`, detail),
  cancelled: (view, event, { reason }) => ends(view, event, 'Called off', reason),
  erased: (view, event) => ends(view, event, 'Erased', ''),
};

const unknown = (view, event) => notice(view, event, `something newer than this page: ${event.kind}`);
const notice = (view, event, text) => add(view, event, 'notice', { isWarning: false, text });
const says = (view, event, fields) => add(view, event, 'message', { agent: null, name: undefined, ...fields });
// What was promised and not recorded before the end never will be.
const ends = (view, event, title, text) =>
  ({ ...add(loseCalls(view), event, 'end', { phase: event.phase, title, text }), drafts: [] });

function add(view, event, type, fields) {
  const { id: key, name, time_ms: time, trace } = event;
  return { ...view, items: [...view.items, { key, type, name, time, trace, ...fields }] };
}

/** Changes the last item that `isMeant`. */
function amend(view, isMeant, changes) {
  const place = view.items.findLastIndex(isMeant);
  return place < 0 ? view : { ...view, items: view.items.with(place, { ...view.items[place], ...changes }) };
}

/** A call's id is unique in its response only: the last one is meant. */
const amendCall = (view, call, changes) => amend(view, (item) => item.type === 'call' && item.call === call, changes);
const isOpen = ({ state }) => state === 'running' || state === 'waiting';

/** A turn is over: what its calls have not returned, nobody waits for any more. */
function loseCalls(view) {
  const lost = (item) => (item.type === 'call' && isOpen(item) ? { ...item, state: 'lost' } : item);
  return { ...view, items: view.items.map(lost) };
}

function settle(view, request, outcome) {
  const question = view.question?.id === request ? null : view.question;
  return amend({ ...view, question }, (item) => item.key === request && item.type === 'request', { outcome });
}

/** Nobody is waited for: what was still open was taken back. */
function withdraw(view) {
  const requests = openRequests(view);
  if (!requests.length && !view.question) return view;
  return requests.reduce((view, { key }) => settle(view, key, { verdict: 'withdrawn' }), { ...view, question: null });
}

// Words and looks that follow from the data alone.

/** `desk:returns` for people: the returns desk. Nothing for the caller. */
export function audienceName(audience) {
  const [kind, name] = audience.split(':');
  return name && `the ${name} ${kind}`;
}

/** Two letters for an avatar: `OrderStatusAgent` is OS, `TriageAgent` Tr. */
export function initials(name) {
  const words = name.replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2').split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const [first = '?', second] = words.length > 1 ? words.filter((word) => word.toLowerCase() !== 'agent') : words;
  return second ? (first[0] + second[0]).toUpperCase() : first[0].toUpperCase() + first.slice(1, 2);
}

/** An agent's colour, in degrees: neighbours in the definition are far apart; an agent nobody listed has one of its own. */
export function hue(agent, agents) {
  const place = agents.findIndex(({ name }) => name === agent);
  const seed = place < 0 ? [...agent].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 7) : place;
  return Math.round(200 + seed * 137.508) % 360;
}

/**
 * JSON laid out for reading. Not parsed and printed: who approves must see every digit of a number and both of two equal
 * keys. Strings lose their escapes, but for characters that would turn what stands around them.
 */
export function pretty(json) {
  try {
    JSON.parse(json);
  } catch {
    return plain(json); // A model meant it to be JSON.
  }
  let depth = 0;
  const line = () => `\n${'  '.repeat(depth)}`;
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|[^\s{}[\],:"]+/g);
  return tokens.map((token) => {
    switch (token) {
      case '{': case '[': depth += 1; return token + line();
      case '}': case ']': depth -= 1; return line() + token;
      case ',': return token + line();
      case ':': return ': ';
      default: return token.startsWith('"') ? plain(JSON.stringify(JSON.parse(token))) : token.replace(/\s/g, '');
    }
  }).join('');
}

/** Text in which every character is seen: none that is invisible or turns what stands around it. */
const plain = (text) => text.replace(
  /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
  (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
);
