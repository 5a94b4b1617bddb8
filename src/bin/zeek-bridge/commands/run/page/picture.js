// The picture: each link is a column with its peers, and arrows show what flows.

import { Arrows } from './arrows.js';
import { AbsentCard, LinkCard, PeerCard } from './cards.js';
import { button, el, reconcile, selector } from './dom.js';
import { count, plural, rate } from './format.js';
import { key, peerKey, peerName, shortIdentity } from './model.js';
import { Slots } from './slots.js';
import { setAttribute, setLongText, setText } from './text.js';

// The number of peers of a link with a card. The others are in a list.
const PEERS = 12;

// The number of rejected connections of a link with a card.
const REJECTED = 3;

export class Picture {
  #columns = new Map();
  #onSelect;

  /** `onSelect(selection, event)` is called when a link, a peer or a node is activated. */
  constructor(root, onSelect) {
    this.#onSelect = onSelect;
    this.arrows = new Arrows();
    this.grid = el('div', { class: 'columns' });
    this.canvas = el('div', { class: 'picture' }, this.arrows.element, this.grid);
    this.empty = el('p', { class: 'empty', hidden: true }, 'The configuration has no links.');
    root.append(this.canvas, this.empty);
    new ResizeObserver(() => this.#drawArrows()).observe(this.canvas);
  }

  update(model) {
    this.model = model;
    this.empty.hidden = model.links.length > 0;
    const create = (link) => {
      const column = new Column(link.name, this.#onSelect);
      this.#columns.set(link.name, column);
      return column.element;
    };
    reconcile(this.grid, model.links, (link) => link.name, create,
      (_, link) => this.#columns.get(link.name).update(model, link));
    for (const name of this.#columns.keys()) {
      if (!model.link(name)) this.#columns.delete(name);
    }
    this.#drawArrows();
  }

  /** Marks the card of a selection, or none. */
  select(selection) {
    for (const marked of this.canvas.querySelectorAll('[data-selected]')) marked.removeAttribute('data-selected');
    const column = this.#columns.get(selection?.link);
    const card = selection?.kind === 'peer' ? column?.cardOf(selection.key) : column?.card.button;
    if (card) setAttribute(card, 'data-selected', true);
  }

  #drawArrows() {
    if (this.model) this.arrows.update(this.canvas, [...this.#columns.values()], this.model);
  }
}

/** The column of one link. */
class Column {
  #slots = new Slots(PEERS);
  #cards = new Map();
  #onSelect;

  constructor(name, onSelect) {
    this.name = name;
    this.#onSelect = onSelect;
    this.card = new LinkCard(name, onSelect);
    this.peers = el('ul', { class: 'peers' });
    this.none = el('p', { class: 'empty' }, 'no peers');
    this.more = button({ class: 'more', 'aria-expanded': 'false', onclick: () => this.#toggle() });
    this.list = el('ul', { class: 'peer-list', hidden: true });
    this.omitted = el('p', { class: 'note' });
    this.element = el('div', { class: 'column', role: 'group' },
      this.card.element, this.peers, this.none, this.more, this.list, this.omitted);
    setAttribute(this.element, 'aria-label', `link ${name}`);
  }

  /** The peers that have an arrow: `{key, element, peer, link}`, from top to bottom. */
  get shown() {
    return this.slots.filter((slot) => !slot.isGone).map((slot) => ({ ...slot, element: this.cardOf(slot.key) }));
  }

  cardOf(peerKey) {
    return this.#cards.get(peerKey)?.element;
  }

  update(model, link) {
    this.card.update(model, link);
    // The peers that are connected for the longest time come first. At the start, all weights are 0.
    const peers = [...link.peers].sort((a, b) => (b.connected ?? 0) - (a.connected ?? 0)).map((peer) => ({
      key: peerKey(link, peer),
      weight: model.peerRate(link, peer, 'messages_in') + model.peerRate(link, peer, 'messages_out') +
        (model.deniedNow(link, peer) > 0 ? 1e9 : 0),
      peer,
      link,
    }));
    const hasLeft = (slot) => model.hasLeft(link, slot.peer, slot.seen);
    this.slots = this.#slots.update(peers, model.time, hasLeft);
    const absent = absentOf(model, link);
    const items = [...this.slots.map((slot) => this.#withReason(model, slot)), ...absent];
    reconcile(this.peers, items, (item) => item.key, (item) => this.#create(item), (_, item) => {
      const card = this.#cards.get(item.key);
      if (item.peer) card.update(model, item);
      else card.update(item);
    });
    const kept = new Set(items.map((item) => item.key));
    for (const at of this.#cards.keys()) if (!kept.has(at)) this.#cards.delete(at);
    this.none.hidden = items.length > 0;
    this.#updateList(model, link, peers);
  }

  #create(item) {
    const card = item.peer ? new PeerCard(this.#onSelect) : new AbsentCard(this.#onSelect);
    this.#cards.set(item.key, card);
    return card.element;
  }

  #withReason(model, slot) {
    if (!slot.isGone) return slot;
    return { ...slot, reason: model.disconnectOf(slot.link, slot.peer, slot.seen)?.reason };
  }

  #toggle() {
    this.list.hidden = !this.list.hidden;
    setAttribute(this.more, 'aria-expanded', String(!this.list.hidden));
    this.update(this.model, this.model.link(this.name));
  }

  // The list has all peers of the status, not only those without a card.
  #updateList(model, link, peers) {
    this.model = model;
    const omitted = model.omitted(link.name);
    const withoutCard = link.peers.length - this.shown.length;
    this.more.hidden = withoutCard + omitted <= 0;
    if (this.more.hidden) this.list.hidden = true;
    setText(this.more, this.list.hidden ? `${count(withoutCard + omitted)} more` : 'fewer');
    const isListed = !this.list.hidden;
    const create = () => {
      const row = selector(this.#onSelect);
      row.append(el('span', { class: 'number' }));
      return el('li', {}, row);
    };
    reconcile(this.list, isListed ? peers : [], (item) => item.key, create, (row, { key: at, peer, weight }) => {
      row.firstChild.selection = { kind: 'peer', link: link.name, key: at };
      setLongText(row.firstChild.firstChild, [peerName(peer), peer.address].join(' · '));
      setText(row.firstChild.lastChild, rate(weight % 1e9));
    });
    setText(this.omitted, isListed && omitted
      ? `${plural(omitted, 'peer')} more: see zeek-bridge status --format json` : '');
  }
}

// The addresses that a link has no peering with, and the newest rejected connections of other addresses.
function absentOf(model, link) {
  const failures = model.failuresNow(link);
  const expected = model.missing(link).map((target) => ({
    key: key('absent', target), link, name: target, isExpected: true,
    text: failures.find((entry) => entry.address === target)?.text ?? 'connecting',
  }));
  const rejected = new Map();
  for (const entry of failures) {
    if (link.connecting.includes(entry.address)) continue;
    const host = entry.identity ? shortIdentity(entry.identity) : String(entry.address ?? '').replace(/:\d+$/, '');
    const at = key('rejected', host, entry.reason);
    if (!rejected.has(at)) rejected.set(at, { key: at, link, name: host, text: entry.text ?? entry.reason });
  }
  return [...expected, ...[...rejected.values()].slice(0, REJECTED)];
}
