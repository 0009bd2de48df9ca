// The page: draws the view that conversation.js folds, and passes on what people do. Every text it shows was written by
// somebody else, so it becomes a text node, never markup.

import { NOTHING, audienceName, fold, hue, initials, isEnded, openRequests, pretty, refuse } from './conversation.js';
import { Problem, call, follow, newKey } from './gateway.js';

const page = Object.fromEntries([...document.querySelectorAll('[id]')].map((node) => [node.id, node]));

let directory = { orchestrations: [], trace_url: null };
let current = null; // The conversation that is shown: { orchestration, id }.
let following = new AbortController();
let view = NOTHING;
let stream = 'connecting';
let gone = null; // The problem for which there is nothing to show.
let outgoing = null; // What is being sent, or could not be: { text, to, key, isBusy }.

const orchestration = () => {
  const name = current?.orchestration ?? page.intro.querySelector('select')?.value;
  return directory.orchestrations.find((served) => served.name === name) ?? directory.orchestrations[0];
};
const agents = () => orchestration()?.agents ?? [];
const nameOf = (agent) => agents().find(({ name }) => name === agent)?.display_name ?? agent;
const path = (rest = '') =>
  `v1/conversations/${current.id}${rest}?orchestration=${encodeURIComponent(current.orchestration)}`;

// What is shown.

/** An element with properties and children; strings become text. */
function el(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter(Boolean));
  return node;
}

function tint(node, agent) {
  if (agent) node.style.setProperty('--hue', hue(agent, agents()));
  return node;
}

const avatar = (agent, name) => tint(el('span', { className: 'avatar', ariaHidden: 'true' }, initials(name)), agent);
const bold = (text, agent) => tint(el('b', { dir: 'auto' }, text), agent);
const words = (text, className = 'text') => el('p', { className, dir: 'auto' }, text);
const code = (text) => el('pre', { tabIndex: 0 }, el('code', {}, text));

function meta({ name, agent, time, trace, isDraft }) {
  const at = time && new Date(time);
  const url = trace && directory.trace_url?.replace('{trace}', encodeURIComponent(trace));
  return el('p', { className: 'meta' },
    bold(name, agent),
    at && el('time', { dateTime: at.toISOString(), title: at.toLocaleString() }, at.toLocaleTimeString([], { timeStyle: 'short' })),
    url && !isDraft && /^https?:/.test(url) && el('a', { href: url, target: '_blank', rel: 'noreferrer' }, 'trace'));
}

const CALL_STATES = { running: 'running …', waiting: 'waits for a decision', done: 'done', failed: 'failed', lost: 'no result' };
const OUTCOMES = {
  approved: 'Approved', denied: 'Denied', happened: 'It happened', retry: 'To be tried again', abandoned: 'Given up',
  answered: 'Answered', withdrawn: 'Not needed any more',
};

/** How each type of item is drawn, as the children of its row. */
const DRAW = {
  message(item) {
    const name = item.name ?? (item.agent ? nameOf(item.agent) : 'You');
    const says = meta({ ...item, name });
    return item.agent ? [avatar(item.agent, name), el('div', { className: 'said' }, says, words(item.text))] : [says, words(item.text)];
  },
  call({ tool, arguments: args, state, result }) {
    return [el('details', {},
      el('summary', {},
        el('code', {}, tool), el('span', { className: 'brief' }, args), el('span', { className: 'state' }, CALL_STATES[state])),
      el('h3', {}, 'Arguments'), code(pretty(args)),
      result !== null && el('h3', {}, state === 'failed' ? 'Error' : 'Result'), result !== null && code(pretty(result)))];
  },
  transfer({ agent, name, to, toName, text }) {
    return [el('p', {}, bold(name, agent), ' handed over to ', bold(toName, to)), text && words(text, 'reason')];
  },
  request: (item) => (item.outcome ? decided(item) : [card(item)]),
  notice: ({ text }) => [words(text)],
  end: ({ title, text, trace }) => [meta({ name: title, trace }), text && words(text)],
};

/** What is left of a card: who decided what. */
function decided({ call, text, outcome: { verdict, by, note } }) {
  return [el('details', { className: `decided ${verdict}` },
    el('summary', {}, el('b', {}, OUTCOMES[verdict]), by && ` by ${by}`, ' · ', el('code', {}, call?.name ?? 'question')),
    note && words(`“${note}”`), text && words(text), call && code(pretty(call.arguments)))];
}

const CHOICES = {
  approval: [['approved', 'Approve', 'primary'], ['denied', 'Deny', 'danger']],
  'in-doubt': [['happened', 'It happened', 'primary'], ['retry', 'Try again', 'quiet'], ['abandoned', 'Give up', 'danger']],
  question: [['answer', 'Answer', 'primary']],
};
const TITLES = {
  approval: 'May this call run?', 'in-doubt': 'Nobody knows whether this call ran', question: 'A question',
};

/** What asks for a decision, or for the answer of somebody who is not the caller. */
function card(item) {
  const { kind, audience, agent, name, text, call: asked, time, due, claimedBy } = item;
  const title = TITLES[kind];
  const asks = { approval: ' wants to call ', 'in-doubt': ' called ', question: ' asks' }[kind];
  const label = { approval: 'Note (optional)', 'in-doubt': 'Note, or its result if it happened', question: 'Answer' }[kind];
  const deadline = due && time && new Date(time + due * 1000).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
  const terms = [
    audienceName(audience) && `For ${audienceName(audience)}`, deadline && `open until ${deadline}`, claimedBy && `${claimedBy} is on it`,
  ].filter(Boolean).join(' · ');
  const note = el('input', { autocomplete: 'off', maxLength: 10_000 });
  const by = el('input', { autocomplete: 'name', maxLength: 200, value: me() });
  const failure = el('p', { className: 'failure', role: 'alert' });
  const buttons = CHOICES[kind].map(([verdict, label, className]) =>
    el('button', { type: 'button', className, onclick: () => decide(item, verdict, { section, note, by, failure }) }, label));
  const section = el('section', { className: 'card', ariaLabel: asked ? `${title} ${asked.name}` : title },
    el('h2', {}, title),
    el('p', { className: 'asks' }, bold(name, agent), asks, asked && el('code', {}, asked.name)),
    text && words(text), asked && code(pretty(asked.arguments)), terms && words(terms, 'asks'),
    el('div', { className: 'fields' }, el('label', {}, label, note), kind !== 'question' && el('label', {}, 'Your name (optional)', by)),
    failure, el('div', { className: 'choices' }, ...buttons));
  return tint(section, agent);
}

/** The name under which this browser decides. */
function me(name) {
  try {
    if (name !== undefined) localStorage.setItem('name', name);
    return localStorage.getItem('name') ?? '';
  } catch {
    return name ?? ''; // Storage is switched off.
  }
}

const rows = new Map(); // By item key: { item, node }.
let isDrawing = false;

/** Draws once for all that arrives within a frame; also in a hidden tab, whose title says who is waited for. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  setTimeout(() => {
    isDrawing = false;
    drawLog();
    drawFrame();
    keepUp();
  }, 16);
}

let isAtEnd = true; // Whether the reader is: who has scrolled back is not torn away.

function keepUp() {
  if (isAtEnd && current) page.scroller.scrollTop = page.scroller.scrollHeight;
  page.latest.hidden = isAtEnd || !current;
}

function noticePlace() {
  const { scrollHeight, scrollTop, clientHeight } = page.scroller;
  isAtEnd = scrollHeight - scrollTop - clientHeight < 24;
  page.latest.hidden = isAtEnd || !current;
}

/** Rows whose item is the same object stay untouched: focus, selection and opened details live in them. */
function drawLog() {
  const items = [...view.items, ...view.drafts];
  const keys = new Set(items.map(({ key }) => key));
  for (const [key, { node }] of rows) {
    if (keys.has(key)) continue;
    node.remove();
    rows.delete(key);
  }
  items.forEach((item, place) => {
    const row = rows.get(item.key) ?? { node: el('li') };
    if (row.item !== item) drawRow(row, item);
    rows.set(item.key, row);
    if (page.log.children[place] !== row.node) page.log.insertBefore(row.node, page.log.children[place] ?? null);
  });
}

function drawRow(row, item) {
  const { node, item: before } = row;
  row.item = item;
  node.className = [item.type, item.agent ? 'agent' : 'person', item.isDraft && !item.final && 'draft', item.isAside && 'aside',
    item.isWarning && 'warning', item.state, item.phase].filter(Boolean).join(' ');
  if (before?.isDraft && item.isDraft) {
    node.querySelector('.text').textContent = item.text;
    return;
  }
  // Pieces are not read out; the answer that replaces them is.
  node.ariaLive = item.isDraft ? 'off' : null;
  const wasOpen = item.type === 'call' && node.querySelector('details')?.open;
  const hadFocus = node.contains(document.activeElement);
  tint(node, item.agent).replaceChildren(...DRAW[item.type](item).filter(Boolean));
  if (wasOpen) node.querySelector('details').open = true;
  if (hadFocus) (node.querySelector('summary') ?? page.text).focus();
}

/** Everything around the log. */
function drawFrame() {
  const ended = isEnded(view) || gone;
  const isWorking = view.phase === 'working' && stream === 'live';
  page.intro.hidden = !!current;
  page.title.textContent = orchestration()?.name ?? 'Baton';
  page.status.textContent = status();
  page.status.dataset.is = gone ? 'gone' : current && !ended && stream !== 'live' ? 'lost' : view.phase ?? 'idle';
  document.title = current ? `${status()} · ${page.title.textContent}` : page.title.textContent;
  page.new.hidden = !current || !!ended;
  page.end.hidden = !current || ended || !view.phase;
  page.end.textContent = view.question ? 'End' : 'Cancel';
  page.working.hidden = !isWorking || view.drafts.some(({ final }) => !final);
  if (isWorking) page.working.firstChild.replaceWith(avatar(view.owner, nameOf(view.owner)));
  page.composer.hidden = page.hint.hidden = !!ended;
  page.over.hidden = !ended;
  page.verdict.textContent = gone ? 'Nothing can be said here.' : 'This conversation is over.';
  page.text.placeholder = prompt();
  page.text.readOnly = !!outgoing?.isBusy;
  page.send.disabled = !!outgoing?.isBusy || !orchestration();
  page.send.textContent = outgoing?.isBusy ? 'Sending …' : current ? 'Send' : 'Start';
}

function status() {
  if (!orchestration()) return 'Connecting …';
  if (!current) return 'Ready';
  if (gone) return 'Not available';
  if (isEnded(view)) return { completed: 'Completed', failed: 'Failed', cancelled: 'Called off', erased: 'Erased' }[view.phase];
  if (stream !== 'live') return stream === 'lost' ? 'Connection lost, reconnecting …' : 'Connecting …';
  if (view.phase === 'working') return `${nameOf(view.owner)} is working`;
  const [request] = openRequests(view);
  if (!view.question && !request) return 'Starting …';
  return `Waiting for ${view.question ? 'you' : audienceName(request.audience) ?? 'you'}`;
}

function prompt() {
  if (!current) return 'How can we help?';
  if (view.question) return `Answer ${view.question.name} …`;
  return view.phase === 'working' ? 'Say something meanwhile …' : 'Say something …';
}

/** Who would work on a conversation, the agent that answers first before the others. */
function drawIntro() {
  const { start } = orchestration();
  const chooser = el('select', { onchange: drawIntro }, ...directory.orchestrations.map(({ name }) => el('option', {}, name)));
  chooser.value = orchestration().name;
  page.intro.replaceChildren(
    el('h2', {}, 'Start a conversation'),
    el('label', { hidden: directory.orchestrations.length < 2 }, 'with ', chooser),
    el('p', {}, 'Write a message. These agents work on it together, and hand it over to one another.'),
    el('ul', {}, ...agents().toSorted((a, b) => (b.name === start) - (a.name === start)).map(introduce)));
  draw();
}

function introduce({ name, display_name: shown, description, handoffs }) {
  const isFirst = name === orchestration().start;
  return tint(el('li', {}, avatar(name, shown), el('div', {},
    el('p', {}, bold(shown, name), isFirst && el('span', { className: 'chip' }, 'answers first')),
    description && words(description, 'about'),
    handoffs.length > 0 && words(`→ ${handoffs.map(({ to }) => nameOf(to)).join(', ')}`, 'about'))), name);
}

// What people do.

function inWords(problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (problem.code === 'already_answered') return 'Somebody else was faster.';
  return problem.message;
}

/** Sends what is written, or starts with it. After a failure the same text goes out under the same key again. */
async function send() {
  const text = page.text.value;
  if (!text.trim() || outgoing?.isBusy || !orchestration()) return;
  const to = current ? path('/messages') : 'v1/conversations';
  const body = current ? { text } : { message: text, orchestration: orchestration().name };
  const isAgain = outgoing?.text === text && outgoing.to === to;
  const mine = { text, to, key: isAgain ? outgoing.key : newKey(), isBusy: true };
  outgoing = mine;
  page.problem.textContent = '';
  draw();
  try {
    const answer = await call('POST', to, { body, key: mine.key });
    if (outgoing !== mine) return; // Another conversation is shown by now.
    outgoing = null;
    page.text.value = '';
    grow();
    if (answer.events) location.hash = `${answer.orchestration}/${answer.conversation}`;
  } catch (problem) {
    if (outgoing !== mine) return;
    mine.isBusy = false;
    page.problem.textContent = inWords(problem);
  }
  draw();
}

/** Passes a decision on. What collapses the card is its event: this one's, or that of somebody who was faster. */
async function decide({ key, kind, hash }, verdict, { section, note, by, failure }) {
  if (section.ariaBusy) return;
  if (kind === 'question' && !note.value.trim()) return note.focus();
  const decision = { verdict, arguments_hash: hash, note: note.value, by: me(by.value) };
  section.ariaBusy = 'true';
  failure.textContent = '';
  try {
    await call('POST', path(`/requests/${key}`), { body: kind === 'question' ? { text: note.value } : decision, key: newKey() });
  } catch (problem) {
    section.ariaBusy = null;
    failure.textContent = inWords(problem);
  }
}

function askToEnd() {
  const { question } = view;
  page.question.textContent = question ? 'End the conversation?' : 'Call the conversation off?';
  page.consequence.textContent = question
    ? 'It completes, and nothing can be said in it any more.'
    : 'Whoever works on it stops, and nothing can be said in it any more.';
  page.why.hidden = !!question;
  page.reason.value = '';
  page.leave.textContent = question ? 'End' : 'Call off';
  page.leave.onclick = () => end(question);
  page.farewell.showModal();
}

/** An empty answer to an open question ends well; without one, the conversation is called off. */
async function end(question) {
  page.farewell.close();
  page.problem.textContent = '';
  const reason = encodeURIComponent(page.reason.value);
  try {
    if (question) await call('POST', path('/messages'), { body: { text: '', request: question.id }, key: newKey() });
    else await call('DELETE', `${path()}${reason && `&reason=${reason}`}`);
  } catch (problem) {
    // 409: it is over already, by somebody else or by a repeat of this call; its event says so.
    if (problem.status !== 409) page.problem.textContent = inWords(problem);
  }
}

/** Shows the conversation that the address names, or the way to a new one. */
function show() {
  following.abort();
  following = new AbortController();
  const [, name, id] = location.hash.match(/^#([a-z0-9-]+)\/([A-Za-z0-9_-]+)$/) ?? [];
  current = id ? { orchestration: name, id } : null;
  [view, stream, gone, outgoing, isAtEnd] = [NOTHING, 'connecting', null, null, true];
  page.problem.textContent = '';
  draw();
  page.text.focus();
  if (current) {
    follow(path('/events'), {
      signal: following.signal,
      onMessage: (kind, data) => { view = fold(view, kind, data); draw(); },
      onState: (state, problem = null) => {
        [stream, gone] = [state, problem];
        if (gone) view = refuse(view, gone.message);
        draw();
      },
    });
  }
}

function grow() {
  page.text.style.height = 'auto';
  page.text.style.height = `${page.text.scrollHeight + page.text.offsetHeight - page.text.clientHeight}px`;
}

page.composer.addEventListener('submit', (event) => { event.preventDefault(); send(); });
page.text.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
page.text.addEventListener('input', grow);
page.end.addEventListener('click', askToEnd);
page.stay.addEventListener('click', () => page.farewell.close());
for (const button of [page.new, page.again]) button.addEventListener('click', () => { location.hash = ''; });
page.latest.addEventListener('click', () => { isAtEnd = true; keepUp(); });
page.scroller.addEventListener('scroll', noticePlace, { passive: true });
new ResizeObserver(keepUp).observe(page.scroller);
window.addEventListener('hashchange', show);

try {
  directory = await call('GET', 'v1/orchestrations', { repeatsMax: Infinity });
  drawIntro();
  show();
} catch (problem) {
  page.problem.textContent = inWords(problem);
}
