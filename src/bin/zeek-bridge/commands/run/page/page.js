// Entry of the page: connects the parts, and shows the header.

import { Details } from './details.js';
import { choice, storeChoice } from './dom.js';
import { byteRate, count, dateTime, duration, latency, plural, rate } from './format.js';
import { notReady } from './facts.js';
import { History } from './history.js';
import { Live } from './live.js';
import { Model, sum } from './model.js';
import { Picture } from './picture.js';
import { Plots } from './plots.js';
import { Recent } from './recent.js';
import { Busiest, Requests, Rules } from './tables.js';
import { setAttribute, setText } from './text.js';

// A restart is shown for this long.
const RESTART_MS = 15000;

const get = (id) => document.getElementById(id);
const model = new Model();
const history = new History();

const details = new Details(get('details'), (selection) => {
  setAttribute(document.body, 'data-details', selection !== null);
  picture.select(selection);
});
const select = (selection, event) => details.show(selection, event);
const picture = new Picture(get('picture'), select);
const plots = new Plots(get('plots'), get('ranges'));
const busiest = new Busiest(get('busiest'));
const requests = new Requests(get('requests'), get('requests-total'), select);
const rules = new Rules(get('rules'), select);
const recent = new Recent(get('recent'), get('recent-tools'), select);

function showStatus(message) {
  if (model.update(message)) showRestart();
  showHeader();
  // A page in the background costs little, and shows its state only in the title.
  if (!document.hidden) showParts();
}

function showParts() {
  picture.update(model);
  picture.select(details.selection);
  for (const table of [busiest, requests, rules, recent]) table.update(model);
  details.update(model);
  get('waiting').hidden = true;
}

function showHeader() {
  const { status } = model;
  const notReadyLinks = model.links.filter((link) => !link.ready);
  const isReady = notReadyLinks.length === 0;
  const why = notReadyLinks.map((link) => `link ${link.name}: ${notReady(model, link)}`);
  setText(get('state'), isReady ? 'ready' : 'not ready');
  setAttribute(get('state'), 'data-state', isReady ? 'ready' : 'waiting');
  setText(get('why'), why.join('; '));
  setText(get('version'), status.version ?? '');
  setText(get('uptime'), `up ${duration(status.uptime)}`);
  const since = Date.parse(status.started) / 1000;
  setAttribute(get('uptime'), 'title', Number.isFinite(since) ? `running since ${dateTime(since)}` : null);
  const peers = model.links.reduce((total, link) => total + link.peers.length + model.omitted(link.name), 0);
  const totals = [plural(model.links.length, 'link'), plural(peers, 'peer'), plural(status.nodes.length, 'node')];
  setText(get('totals'), totals.join(', '));
  const [denied, dropped] = [model.rate('denied'), model.total('dropped')];
  tile('in', rate(model.total('messages_in')), byteRate(model.total('bytes_in')));
  tile('out', rate(model.total('messages_out')), byteRate(model.total('bytes_out')));
  tile('denied', rate(denied), `${count(sum(status.refused))} in total`, denied > 0);
  tile('dropped', rate(dropped), `${count(droppedTotal())} in total`, dropped > 0);
  tile('in-flight', count(status.in_flight), `${count(status.unanswered)} unanswered`);
  document.title = `${isReady ? '' : 'not ready – '}zeek-bridge`;
}

function droppedTotal() {
  return model.links.reduce((total, link) => total + link.dropped + link.not_carried + link.lost_to_chaos, 0);
}

function tile(name, value, note, isBad = false) {
  setText(get(`${name}-value`), value);
  setText(get(`${name}-note`), note);
  setAttribute(get(`${name}-value`).parentElement, 'data-bad', isBad);
}

function showHistory() {
  if (!document.hidden) plots.update(history);
  // The newest measurement of the last minute.
  const newest = (name) => latency(history.newest('latency', name, 12) ?? NaN);
  tile('p99', newest('p99'), `p50 ${newest('p50')}`);
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden || !model.status) return;
  showParts();
  showHistory();
});

let restartTimer = 0;

function showRestart() {
  get('restarted').hidden = false;
  clearTimeout(restartTimer);
  restartTimer = setTimeout(() => { get('restarted').hidden = true; }, RESTART_MS);
}

function showConnection(state, text) {
  setText(get('connection'), { live: 'live', lost: 'lost', connecting: 'connecting' }[state]);
  setAttribute(get('connection'), 'data-state', state);
  setAttribute(document.body, 'data-connection', state);
  get('lost').hidden = state !== 'lost';
  if (state === 'lost') setText(get('lost-text'), text);
}

// The theme follows the system until it is chosen here.
function showTheme(theme) {
  setAttribute(document.documentElement, 'data-theme', theme);
  setAttribute(get('theme'), 'aria-pressed', String(isDark()));
}

function isDark() {
  const chosen = choice('theme');
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

get('theme').addEventListener('click', () => {
  storeChoice('theme', isDark() ? 'light' : 'dark');
  showTheme(choice('theme'));
});
showTheme(choice('theme'));

new Live({
  onStatus: showStatus,
  onHistory(document) {
    history.load(document);
    showHistory();
  },
  onSample(sample) {
    const isComplete = history.append(sample);
    showHistory();
    return isComplete;
  },
  onState: showConnection,
});
