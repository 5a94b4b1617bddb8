// The table of recent connects, disconnects, failures and denials, with a filter.

import { badge } from './cards.js';
import { el, isolated, reconcile, selector } from './dom.js';
import { count, dateTime, timeOfDay, words } from './format.js';
import { key, peerKey, shortIdentity } from './model.js';
import { heads } from './tables.js';
import { setAttribute, setLongText, setText, visible } from './text.js';

const KINDS = ['denied', 'failed', 'disconnected', 'connected'];

export class Recent {
  #model = null;
  #hidden = new Set();

  constructor(root, tools, onSelect) {
    this.onSelect = onSelect;
    this.search = el('input', {
      type: 'search', placeholder: 'filter: name, address, topic, reason', 'aria-label': 'filter the recent events',
      autocomplete: 'off', spellcheck: 'false', maxlength: '200', oninput: () => this.#show(),
    });
    const boxes = KINDS.map((kind) => el('label', { class: 'check' },
      el('input', { type: 'checkbox', checked: true, onchange: (event) => this.#toggle(kind, event) }),
      badge(kind, kind)));
    this.shown = el('output', { class: 'note', 'aria-live': 'polite' });
    tools.append(this.search, ...boxes, this.shown);
    this.rows = el('tbody');
    const head = heads(['time', 'kind', 'link', 'peer', 'message', 'reason']);
    this.table = el('table', { class: 'recent' }, head, this.rows);
    this.empty = el('p', { class: 'empty' });
    root.append(this.table, this.empty);
  }

  #toggle(kind, event) {
    if (event.currentTarget.checked) this.#hidden.delete(kind);
    else this.#hidden.add(kind);
    this.#show();
  }

  update(model) {
    this.#model = model;
    this.#show();
  }

  #show() {
    if (!this.#model) return;
    const all = this.#model.recent;
    const words = this.search.value.toLowerCase().split(/\s+/).filter((word) => word);
    const matches = all.filter((entry) => !this.#hidden.has(entry.kind) && hasWords(entry, words));
    // Two entries may be equal: number them from the oldest on, so that a new entry does not change the other keys.
    const seen = new Map();
    const keyed = matches.toReversed().map((entry) => {
      const at = key(entry.time, entry.kind, entry.link, entry.peer, entry.reason, entry.topic, entry.event);
      seen.set(at, (seen.get(at) ?? 0) + 1);
      return { entry, at: `${at}${seen.get(at)}` };
    }).toReversed();
    const update = (row, { entry }) => this.#updateRow(row, entry);
    reconcile(this.rows, keyed, ({ at }) => at, () => this.#createRow(), update);
    const total = count(all.length);
    setText(this.shown, matches.length === all.length ? total : `${count(matches.length)} of ${total}`);
    this.table.hidden = matches.length === 0;
    this.empty.hidden = matches.length > 0;
    setText(this.empty, all.length === 0 ? 'no connects, disconnects or denials yet' : 'no entry matches the filter');
  }

  #createRow() {
    return el('tr', {}, el('td', { class: 'number' }), el('td'), el('td', {}, isolated()),
      el('td', {}, selector(this.onSelect, { class: 'plain' })),
      el('td', {}, isolated({ class: 'mono' })), el('td', {}, isolated()));
  }

  #updateRow(row, entry) {
    const [time, kind, link, peer, message, reason] = row.children;
    setText(time, timeOfDay(entry.time));
    setAttribute(time, 'title', dateTime(entry.time));
    if (row.dataset.kind !== entry.kind) kind.replaceChildren(badge(entry.kind, entry.kind));
    setAttribute(row, 'data-kind', entry.kind);
    setLongText(link.firstChild, entry.link);
    setText(peer.firstChild.firstChild, nameOf(entry));
    setAttribute(peer.firstChild, 'title', [entry.identity, entry.address, entry.peer].filter((part) => part));
    peer.firstChild.selection = this.#selectionOf(entry);
    setLongText(message.firstChild, [entry.topic, entry.event, entry.node].filter((part) => part).join(' · '));
    setText(reason.firstChild, reasonOf(entry));
    setAttribute(reason.firstChild, 'title', entry.text ?? entry.reason);
  }

  // The peer, if it is still connected; otherwise its link.
  #selectionOf(entry) {
    const link = this.#model.link(entry.link);
    const peer = link?.peers.find((peer) => peer.id === entry.peer);
    return peer ? { kind: 'peer', link: link.name, key: peerKey(link, peer) } : { kind: 'link', link: entry.link };
  }
}

function nameOf(entry) {
  const parts = [entry.identity && shortIdentity(entry.identity), entry.address ?? entry.peer];
  return parts.filter((part) => part).join(' · ') || '–';
}

function reasonOf(entry) {
  const more = entry.suppressed ? ` (and ${count(entry.suppressed)} similar)` : '';
  const rule = entry.rule ? `, rule ${entry.rule}` : '';
  return `${entry.reason ? words(entry.reason) : ''}${rule}${more}` || entry.text || '';
}

// Searches what is shown, with hidden characters as escapes, and the names of reasons.
function hasWords(entry, words) {
  if (words.length === 0) return true;
  const parts = [entry.kind, entry.link, entry.peer, entry.address, entry.identity, entry.protocol, entry.reason,
    entry.text, entry.rule, entry.topic, entry.event, entry.node, reasonOf(entry)];
  const text = parts.map((part) => visible(part)).join(' ').toLowerCase();
  return words.every((word) => text.includes(word));
}
