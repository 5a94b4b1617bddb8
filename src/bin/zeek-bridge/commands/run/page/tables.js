// The tables of the current state: the busiest topics and events, the requests in flight, and the rules.

import { badge, reasonLines } from './cards.js';
import { el, isolated, reconcile, selector } from './dom.js';
import { count, duration, rate } from './format.js';
import { key, sum } from './model.js';
import { setAttribute, setLongText, setText } from './text.js';

// The requests of a node are answered in milliseconds. A request that is older than this, in seconds, is slow.
const SLOW = 2;

export class Busiest {
  constructor(root) {
    this.list = el('ul', { class: 'bars' });
    this.empty = el('p', { class: 'empty' }, 'no messages in the last seconds');
    root.append(this.list, this.empty);
  }

  update(model) {
    const busiest = model.status.busiest ?? [];
    const highest = Math.max(...busiest.map((entry) => entry.rate), 0);
    const create = () => el('li', {}, el('span', { class: 'bar', 'aria-hidden': 'true' }),
      isolated({ class: 'mono' }), isolated(), el('span', { class: 'number' }));
    const update = (item, entry) => {
      const [bar, topic, event, number] = item.children;
      bar.style.width = `${highest > 0 ? (entry.rate / highest) * 100 : 0}%`;
      setLongText(topic, entry.topic);
      setLongText(event, entry.event ?? '');
      setText(number, rate(entry.rate));
    };
    reconcile(this.list, busiest, (entry) => key(entry.topic, entry.event), create, update);
    this.empty.hidden = busiest.length > 0;
  }
}

export class Requests {
  constructor(root, summary, onSelect) {
    this.summary = summary;
    this.onSelect = onSelect;
    this.rows = el('tbody');
    this.table = el('table', {}, heads(['node', 'request', ['age', 'number']]), this.rows);
    this.empty = el('p', { class: 'empty' }, 'no requests in flight');
    root.append(this.table, this.empty);
  }

  update(model) {
    const requests = model.status.requests ?? [];
    const total = model.status.in_flight ?? requests.length;
    setText(this.summary, total > requests.length ? `oldest ${requests.length} of ${count(total)}` : count(total));
    const create = () => el('tr', {},
      el('td', {}, selector(this.onSelect, { class: 'plain' })),
      el('td', {}, isolated({ class: 'mono' })), el('td', { class: 'number' }));
    const update = (row, request) => {
      const [node, id, age] = row.children;
      node.firstChild.selection = { kind: 'node', name: request.node };
      setLongText(node.firstChild.firstChild, request.node);
      setLongText(id.firstChild, request.request);
      setText(age, request.age < 10 ? `${request.age.toFixed(1)} s` : duration(request.age));
      setAttribute(row, 'data-slow', request.age >= SLOW);
    };
    reconcile(this.rows, requests, (request) => key(request.node, request.request), create, update);
    this.empty.hidden = requests.length > 0;
    this.table.hidden = requests.length === 0;
  }
}

export class Rules {
  constructor(root, onSelect) {
    this.onSelect = onSelect;
    this.rows = el('tbody');
    this.table = el('table', {}, heads(['rule', 'from', 'to', ['passed', 'number'], ['denied', 'number']]), this.rows);
    this.empty = el('p', { class: 'empty' }, 'no rules: nothing is forwarded');
    root.append(this.table, this.empty);
  }

  update(model) {
    const create = () => el('tr', {},
      el('td', {}, selector(this.onSelect, { class: 'plain' })),
      el('td', {}, isolated()), el('td', {}, isolated()), el('td', { class: 'number' }), el('td', { class: 'number' }));
    const update = (row, rule) => {
      const [name, from, to, passed, denied] = row.children;
      name.firstChild.selection = { kind: 'rule', name: rule.name };
      setLongText(name.firstChild.firstChild, rule.name);
      setLongText(from.firstChild, (rule.from ?? []).join(', '));
      setLongText(to.firstChild, (rule.to ?? []).join(', '));
      setText(passed, rate(model.rate('rule', rule.name, 'passed')));
      setAttribute(passed, 'title', `${count(rule.passed)} since the start`);
      showDenied(denied, sum(rule.refused), model.rate('rule', rule.name, 'denied'));
      setAttribute(denied, 'title', reasonLines(rule.refused));
    };
    reconcile(this.rows, model.rules, (rule) => rule.name, create, update);
    this.empty.hidden = model.rules.length > 0;
    this.table.hidden = model.rules.length === 0;
  }
}

/** Returns the head of a table. A title is a string, or a pair of a string and a class. */
export function heads(titles) {
  const cells = titles.map((title) => el('th', { scope: 'col', class: title[1]?.length > 1 ? title[1] : null },
    Array.isArray(title) ? title[0] : title));
  return el('thead', {}, el('tr', {}, ...cells));
}

// A rule that denied nothing has no mark; one that denies now has a red one.
function showDenied(cell, total, perSecond) {
  if (!cell.firstChild) cell.append(badge('denied', ''), el('span', {}));
  const [mark, text] = cell.children;
  mark.hidden = perSecond === 0;
  setText(mark.lastChild, rate(perSecond));
  setText(text, perSecond > 0 ? '' : total > 0 ? count(total) : '0');
}
