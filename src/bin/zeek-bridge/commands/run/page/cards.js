// The cards of the picture: one for a link, one for a peer, and one for an address without a peering.

import { button, el, isolated, reconcile, selector, svg } from './dom.js';
import { byteRate, bytes, count, duration, rate, short, words } from './format.js';
import { dropped, peerKey, peerName, sum } from './model.js';
import { seriesClass, styleOf, thickness } from './styles.js';
import { setAttribute, setLongText, setText } from './text.js';

const PROTOCOLS = new Map([['broker', 'Broker'], ['websocket', 'WebSocket'], ['zeromq', 'ZeroMQ']]);
const SCHEMES = new Map([['ws', 'WebSocket'], ['wss', 'WebSocket'], ['zeromq', 'ZeroMQ'], ['tcp', 'ZeroMQ']]);
const TLS = new Map([['off', 'no TLS'], ['curve', 'CURVE']]);

// More nodes of one peer are listed in its details.
const NODES = 2;

export function protocolName(name) {
  return PROTOCOLS.get(name) ?? name ?? '';
}

/** Returns the protocols of a link, from its addresses. */
export function protocolsOf(link) {
  const schemes = [...link.listening, ...link.connecting].map((address) => {
    const [scheme] = /^[a-z]+(?=:\/\/)/.exec(address) ?? ['broker'];
    return SCHEMES.get(scheme) ?? 'Broker';
  });
  return [...new Set([...schemes, ...link.peers.map((peer) => protocolName(peer.protocol))])].join(', ');
}

/** A badge with a symbol, so that it is not recognized by its colour alone. */
export function badge(kind, text) {
  const symbols = {
    denied: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M3.6 3.6L12.4 12.4',
    dropped: 'M2 3H14L8 13.5Z',
    ready: 'M2.5 8.5L6.5 12.5L13.5 4',
    waiting: 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13M8 4.5V8.5L11 10',
    failed: 'M3 3L13 13M13 3L3 13',
    connected: 'M8 13.5V2.5M3.5 7L8 2.5L12.5 7',
    disconnected: 'M8 2.5V13.5M3.5 9L8 13.5L12.5 9',
  };
  const symbol = svg('svg', { class: 'symbol', viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    svg('path', { d: symbols[kind] }));
  return el('span', { class: `badge ${kind}` }, symbol, el('span', {}, text));
}

/** Returns the counts of reasons, as lines. */
export function reasonLines(refused) {
  return Object.entries(refused ?? {}).map(([reason, number]) => `${words(reason)}: ${count(number)}`);
}

// A slot for a badge, which is hidden without text.
function badgeSlot(kind) {
  const element = badge(kind, '');
  element.hidden = true;
  return {
    element,
    show(text, title = null) {
      element.hidden = text === '';
      setText(element.lastChild, text);
      setAttribute(element, 'title', title);
    },
  };
}

export class LinkCard {
  constructor(name, onSelect) {
    this.name = isolated({ class: 'card-title' });
    this.protocols = el('span', { class: 'tag' });
    this.tls = el('span', { class: 'tag' });
    this.address = isolated({ class: 'card-address mono' });
    this.in = el('span', { class: 'number' });
    this.out = el('span', { class: 'number' });
    this.ready = badgeSlot('ready');
    this.waiting = badgeSlot('waiting');
    this.denied = badgeSlot('denied');
    this.dropped = badgeSlot('dropped');
    this.swatch = el('span', { class: 'swatch', 'aria-hidden': 'true' });
    this.flows = el('ul', { class: 'card-flows' });
    this.button = button({ class: 'card link-card', onclick: (event) => onSelect({ kind: 'link', link: name }, event) },
      el('span', { class: 'card-row' }, this.swatch, this.name, this.ready.element, this.waiting.element),
      el('span', { class: 'card-row' }, this.protocols, this.tls),
      el('span', { class: 'card-row' }, this.address),
      el('span', { class: 'card-row card-rates' }, this.in, this.out),
      el('span', { class: 'card-row flags' }, this.denied.element, this.dropped.element));
    this.element = el('div', { class: 'link-box' }, this.button, this.flows);
  }

  update(model, link) {
    const [deniedNow, droppedNow] = [model.linkRate(link, 'denied'), model.linkRate(link, 'dropped')];
    const [denied, lost] = [sum(link.refused), dropped(link)];
    setLongText(this.name, link.name);
    setAttribute(this.swatch, 'class', `swatch ${seriesClass(styleOf('link', link.name))}`);
    setText(this.protocols, protocolsOf(link));
    setText(this.tls, TLS.get(link.tls) ?? `TLS ${link.tls}`);
    setLongText(this.address, addressOf(link));
    const traffic = (side) =>
      `${rate(model.linkRate(link, `messages_${side}`))} · ${byteRate(model.linkRate(link, `bytes_${side}`))}`;
    setText(this.in, `↓ ${traffic('in')}`);
    setText(this.out, `↑ ${traffic('out')}`);
    this.ready.show(link.ready ? 'ready' : '');
    this.waiting.show(link.ready ? '' : 'not ready');
    this.denied.show(denied ? `${count(denied)} denied${deniedNow ? `, ${rate(deniedNow)}` : ''}` : '',
      reasonLines(link.refused));
    this.dropped.show(lost ? `${count(lost)} dropped${droppedNow ? `, ${rate(droppedNow)}` : ''}` : '');
    setAttribute(this.button, 'data-denied', deniedNow > 0);
    setAttribute(this.button, 'data-dropped', droppedNow > 0);
    this.#updateFlows(model, link);
  }

  // On a narrow screen, the flows are rows of the card instead of arrows.
  #updateFlows(model, link) {
    const flows = (model.status.flows ?? []).filter((flow) => flow.from === link.name);
    const create = () => el('li', {}, svg('svg', { class: 'flow-arrow', viewBox: '0 0 40 14', 'aria-hidden': 'true' },
      svg('path', { class: 'flow', d: 'M1 7H32' }), svg('path', { class: 'head', d: 'M32 2L39 7L32 12Z' })),
    isolated(), el('span', { class: 'number' }));
    const update = (item, flow) => {
      const perSecond = model.rate('flow', flow.from, flow.to);
      setAttribute(item.firstChild.firstChild, 'stroke-width', thickness(perSecond));
      setAttribute(item.firstChild, 'data-idle', perSecond === 0);
      setText(item.children[1], `to ${flow.to}`);
      setText(item.children[2], rate(perSecond));
    };
    reconcile(this.flows, flows, (flow) => flow.to, create, update);
  }
}

function addressOf(link) {
  const all = [...link.listening, ...link.connecting];
  const first = link.listening.length > 0 ? all[0] : `to ${all[0] ?? '–'}`;
  return all.length > 1 ? `${first} and ${all.length - 1} more` : first;
}

// A key, which marks a peer that has proven its identity.
function key() {
  return el('span', { class: 'proof' }, svg('svg', { class: 'symbol', viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    svg('path', { d: 'M5 14.5a3.5 3.5 0 1 0 0-7a3.5 3.5 0 1 0 0 7M7.5 8.5L14 2M11 5L13.5 7.5' })));
}

export class PeerCard {
  #onSelect;

  constructor(onSelect) {
    this.#onSelect = onSelect;
    this.name = isolated({ class: 'card-title' });
    this.detail = isolated({ class: 'card-detail' });
    this.in = el('span', { class: 'number' });
    this.out = el('span', { class: 'number' });
    this.proof = key();
    this.nodes = el('span', { class: 'nodes' });
    this.denied = badgeSlot('denied');
    this.dropped = badgeSlot('dropped');
    this.gone = badgeSlot('disconnected');
    this.queue = el('span', { class: 'queue' });
    this.second = el('span', { class: 'card-row' }, this.detail, this.queue, this.out);
    this.flags = el('span', { class: 'card-row flags' },
      this.nodes, this.gone.element, this.denied.element, this.dropped.element);
    this.button = button({ class: 'cover', onclick: (event) => onSelect(this.selection, event) });
    this.element = el('li', { class: 'card peer-card' }, this.button,
      el('span', { class: 'card-row' }, this.name, this.proof, this.in), this.second, this.flags);
  }

  update(model, { link, peer, isGone, reason }) {
    this.selection = { kind: 'peer', link: link.name, key: peerKey(link, peer) };
    const nodes = isGone ? [] : model.nodesOf(link, peer);
    const name = peerName(peer);
    setLongText(this.name, name);
    setLongText(this.detail, detailOf(peer, name));
    this.proof.hidden = !peer.identity;
    setAttribute(this.proof, 'title', peer.identity ? [proofOf(peer.identity), peer.identity] : null);
    setText(this.in, isGone ? '' : `↓ ${short(model.peerRate(link, peer, 'messages_in'))}`);
    setText(this.out, isGone ? '' : `↑ ${short(model.peerRate(link, peer, 'messages_out'))}`);
    const denied = isGone ? 0 : model.deniedNow(link, peer);
    const droppedNow = isGone ? 0 : model.peerRate(link, peer, 'dropped');
    this.gone.show(isGone ? `disconnected${reason ? `: ${words(reason)}` : ''}` : '');
    this.denied.show(denied ? `${count(denied)} denied` : '', 'denied in the last minute');
    this.dropped.show(droppedNow ? `drops ${rate(droppedNow)}` : '', 'its queue is full');
    this.queue.hidden = !peer.queued || isGone;
    setText(this.queue, `≡ ${short(peer.queued)}`);
    setAttribute(this.queue, 'title', `queue: ${count(peer.queued)} messages, ${bytes(peer.queued_bytes)}`);
    setAttribute(this.element, 'data-gone', isGone);
    setAttribute(this.element, 'data-denied', denied > 0);
    setAttribute(this.element, 'data-dropped', droppedNow > 0);
    const state = isGone ? ['disconnected'] : [
      `connected for ${duration(peer.connected)}`, peer.identity ? proofOf(peer.identity) : 'no proven identity',
      denied && `${denied} denied`,
    ];
    const label = [`peer ${name} of link ${link.name}`, protocolName(peer.protocol), ...state];
    setAttribute(this.button, 'aria-label', label.filter((part) => part).join(', '));
    this.#updateNodes(nodes, name);
  }

  #updateNodes(nodes, name) {
    // A node is often named like the certificate of its peer. Then, the name is not repeated.
    const isNamed = nodes.length === 1 && nodes[0].name === name;
    const row = isNamed ? this.second : this.flags;
    if (this.nodes.parentElement !== row) row.prepend(this.nodes);
    const shown = nodes.slice(0, NODES).map((node) => ({ ...node, text: isNamed ? 'node' : node.name }));
    if (nodes.length > NODES) shown.push({ name: '', text: `+${nodes.length - NODES}` });
    const create = () => selector(this.#onSelect, { class: 'node' });
    const update = (chip, node) => {
      // The last chip, "+3", opens the peer, whose details list all nodes.
      chip.selection = node.name ? { kind: 'node', name: node.name } : this.selection;
      setLongText(chip.firstChild, node.text);
      setAttribute(chip, 'aria-label', node.name ? `node ${node.name}` : `${nodes.length} nodes of this peer`);
    };
    reconcile(this.nodes, shown, (node) => node.name, create, update);
  }
}

// The second line of a peer's card: what its name does not contain already.
function detailOf(peer, name) {
  const parts = [protocolName(peer.protocol), peer.socket, name === peer.address ? '' : peer.address];
  return parts.filter((part) => part).join(' · ');
}

/** Returns what proves an identity: a certificate, a token or a CURVE key. */
export function proofOf(identity) {
  const kinds = [[/sha256:|CN ?=/, 'certificate'], [/(^|, )token:/, 'token'], [/(^|, )curve:/, 'CURVE key']];
  return kinds.filter(([pattern]) => pattern.test(identity)).map(([, kind]) => kind).join(' and ');
}

/** The card of an address that the link connects to, or for a connection that failed. */
export class AbsentCard {
  constructor(onSelect) {
    this.name = isolated({ class: 'card-title' });
    this.detail = isolated({ class: 'card-detail' });
    this.state = el('span', {});
    this.button = button({ class: 'cover', onclick: (event) => onSelect(this.selection, event) });
    this.element = el('li', { class: 'card peer-card absent' }, this.button,
      el('span', { class: 'card-row' }, this.name), el('span', { class: 'card-row' }, this.detail),
      el('span', { class: 'card-row' }, this.state));
  }

  update({ link, name, isExpected, text }) {
    this.selection = { kind: 'link', link: link.name };
    setLongText(this.name, name);
    setLongText(this.detail, text);
    const kind = isExpected ? 'waiting' : 'failed';
    const state = isExpected ? 'not connected' : 'rejected';
    if (this.kind !== kind) this.state.replaceChildren(badge(kind, state));
    this.kind = kind;
    setAttribute(this.element, 'data-failed', !isExpected);
    setAttribute(this.button, 'aria-label', `${name} at link ${link.name}, ${state}: ${text}`);
  }
}
