// Plays the document's conversation in a real browser, against a running gateway with examples/support (see README.md):
// node chat.mjs BASE_URL DIRECTORY. Asserts what people see, and leaves screenshots of it in DIRECTORY.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [base, directory] = process.argv.slice(2);
if (!directory) {
  console.error('usage: node chat.mjs BASE_URL DIRECTORY');
  process.exit(64);
}
// From where it is run, so that nothing is installed in the repository.
const { chromium } = createRequire(join(process.cwd(), 'x'))('playwright-core');

/** What people read: speaker and text, or what happens in between. */
const SAMPLE = [
  'You: A customer is on the line.',
  'TriageAgent: Hello! Thank you for reaching out. How can I assist you today?',
  "You: I'd like to track the status of my order",
  'TriageAgent handed over to OrderStatusAgent',
  'OrderStatusAgent: Sure, I can help you with that. Could you please provide me with your order ID?',
  'You: My order ID is 123',
  'check_order_status done',
  'OrderStatusAgent: Your order with ID 123 has been shipped and is expected to arrive in 2-3 days. Is there anything else I can assist you with?',
  'You: I want to return another order of mine',
  'OrderStatusAgent handed over to TriageAgent',
  'TriageAgent handed over to OrderReturnAgent',
  "OrderReturnAgent: I can help you with returning your order. Could you please provide the order ID for the return and the reason you'd like to return it?",
  'You: Order ID 321',
  'OrderReturnAgent: Please provide the reason for returning the order with ID 321.',
  'You: Broken item',
  'process_return done',
  'OrderReturnAgent: The return for your order with ID 321 has been successfully processed due to the broken item. Is there anything else I can assist you with?',
  'You: No, bye',
  'Completed: Handled order return for order ID 321 due to a broken item, and successfully processed the return.',
];
const said = SAMPLE.filter((line) => line.startsWith('You: ')).map((line) => line.slice('You: '.length));

mkdirSync(directory, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** A fresh browser at an address. What its console complains of is collected: a violated policy shows there. */
async function visit(address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(address);
  return Object.assign(page, { complaints });
}

const shoot = (page, name) => page.screenshot({ path: join(directory, `${name}.png`) });
const has = (page, selector) => page.locator(selector).first().waitFor({ timeout: 30_000 });
const isWaiting = (page) => has(page, '#status[data-is=waiting]');

async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
  // It comes from the stream, and the box is free for the next one.
  await page.locator('.message.person .text', { hasText: text }).last().waitFor({ timeout: 30_000 });
  await page.waitForFunction(() => document.querySelector('#text').value === '');
}

/** The log as one line each. */
const read = (page) => page.$$eval('#log > li', (rows) => rows.map((row) => {
  const text = (selector) => row.querySelector(selector)?.textContent ?? '';
  if (row.matches('.transfer')) return text('p');
  if (row.matches('.call')) return `${text('summary code')} ${text('.state')}`;
  return `${text('.meta b')}: ${text('.text')}`;
}));

async function playsTheSample() {
  const page = await visit(base);
  await has(page, '#intro li');
  assert.equal(await page.locator('#intro li').count(), 4);
  await shoot(page, 'intro');
  for (const [turn, text] of said.entries()) {
    await say(page, text);
    if (turn === said.length - 1) break;
    const next = SAMPLE[SAMPLE.indexOf(`You: ${said[turn + 1]}`) - 1];
    await page.locator('.message.agent:not(.draft) .text', { hasText: next.split(': ')[1] }).waitFor({ timeout: 30_000 });
    await isWaiting(page);
    await shoot(page, `turn-${turn + 1}`);
  }
  await has(page, '.end.completed');
  assert.deepEqual(await read(page), SAMPLE);
  assert.equal(await page.textContent('#status'), 'Completed');
  assert.ok(await page.isHidden('#composer') && await page.isHidden('#end'));
  await page.locator('.call summary').last().click();
  const [args, result] = await page.locator('.call').last().locator('pre').allTextContents();
  assert.deepEqual(JSON.parse(args), { order_id: '321', reason: 'Broken item' });
  assert.match(result, /Return for order 321/);
  await shoot(page, 'completed');
  assert.deepEqual(page.complaints, []);
  return page.url();
}

async function resumes(address) {
  assert.match(address, /#support\/[A-Za-z0-9_-]+$/);
  for (const [name, options] of Object.entries({
    dark: { colorScheme: 'dark' },
    phone: { viewport: { width: 360, height: 740 } },
    'phone-dark': { viewport: { width: 360, height: 740 }, colorScheme: 'dark' },
  })) {
    const page = await visit(address, options);
    await has(page, '.end.completed');
    assert.deepEqual(await read(page), SAMPLE, name);
    const width = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(width, 0, `${name} scrolls sideways`);
    await shoot(page, name);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  }
}

/** Two readers of one conversation see the same; an empty answer to a question ends it for both. */
async function isSharedAndEnded() {
  const page = await visit(base);
  await has(page, '#intro li');
  await say(page, 'Hello');
  await isWaiting(page);
  const other = await visit(page.url());
  await isWaiting(other);
  await say(other, 'My money back, please');
  await has(page, '.transfer');
  await isWaiting(page);
  await page.click('#end');
  await shoot(page, 'end');
  await page.click('#leave');
  for (const reader of [page, other]) await has(reader, '.end.completed');
  assert.deepEqual(await read(other), await read(page));
  assert.deepEqual([...page.complaints, ...other.complaints], []);
}

async function saysWhatIsNotThere() {
  const page = await visit(`${base}#support/nothere`);
  await has(page, '#status[data-is=gone]');
  assert.match(await page.textContent('.end .text'), /no conversation nothere/);
  await shoot(page, 'not-there');
  await page.click('#again');
  await has(page, '#intro li');
}

try {
  await resumes(await playsTheSample());
  await isSharedAndEnded();
  await saysWhatIsNotThere();
  console.log(`all as it should be; screenshots are in ${directory}`);
} finally {
  await browser.close();
}
