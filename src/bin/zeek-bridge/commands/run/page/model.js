// The newest status of the bridge, with what follows from it and the one before: rates, names, and what is denied now.

import { Rates } from './rates.js';

// A denial or a failed connection is marked in the picture for this long, in seconds.
const MARKED = 60;

/** Joins parts into one key. It contains the lengths, so that no name can imitate a separator. */
export function key(...parts) {
  return parts.map((part) => `${String(part ?? '').length}:${part ?? ''}`).join('');
}

/** Returns the key of a peer. Two sockets of a ZeroMQ proxy may have one id. */
export function peerKey(link, peer) {
  return key(link.name, peer.id, peer.address);
}

/** Returns the names of the links that a rule is for. */
export function linksOf(rule) {
  return [...new Set([...(rule.from ?? []), ...(rule.to ?? [])])];
}

export function sum(numbers) {
  return Object.values(numbers ?? {}).reduce((total, number) => total + number, 0);
}

/** Returns the common name of a certificate, or the complete identity if there is none. */
export function shortIdentity(identity) {
  const name = /(?:^|[,/ ])CN ?= ?([^,/]+?)(?: \(| sha256:|,|\/|$)/.exec(identity);
  return name ? name[1] : identity.replace(/ ?sha256:[0-9a-f]+/, '') || identity;
}

/** Returns the best name of a peer. A name that the peer only claims is in quotes. */
export function peerName(peer) {
  if (peer.identity) return shortIdentity(peer.identity);
  if (peer.name) return `“${peer.name}”`;
  return peer.address || peer.id;
}

export class Model {
  #rates = new Rates();
  #marked = new Map();
  #omitted = new Map();

  constructor() {
    this.status = null;
    this.time = 0;
  }

  /** Replaces the status. Returns true if the bridge was restarted since the last one. */
  update({ time, status, omitted }) {
    const before = this.status;
    const restarted =
      before !== null && (before.started !== status.started || status.uptime < before.uptime);
    if (restarted) this.#rates.clear();
    this.status = status;
    this.time = time;
    // A link may have the name of a property of all objects, such as `constructor`.
    this.#omitted = new Map(Object.entries(omitted ?? {}));
    this.#rates.update(time, counters(status));
    this.#marked = markedDenials(status, time);
    return restarted;
  }

  rate(...parts) {
    return this.#rates.get(key(...parts));
  }

  linkRate(link, counter) {
    return this.rate('link', link.name, counter);
  }

  peerRate(link, peer, counter) {
    return this.rate('peer', peerKey(link, peer), counter);
  }

  /** Returns the sum of a counter's rates over all links. */
  total(counter) {
    return this.links.reduce((total, link) => total + this.linkRate(link, counter), 0);
  }

  get links() {
    return this.status?.links ?? [];
  }

  get rules() {
    return this.status?.rules ?? [];
  }

  get recent() {
    return this.status?.recent ?? [];
  }

  link(name) {
    return this.links.find((link) => link.name === name);
  }

  /** Returns the number of peers of a link that the bridge has left out of the status. */
  omitted(name) {
    return this.#omitted.get(name) ?? 0;
  }

  /** Returns the entry about the end of a peering that was in the status at the time `seen`, or undefined. */
  disconnectOf(link, peer, seen) {
    const isOfPeer = (entry) => ['connected', 'disconnected'].includes(entry.kind) && entry.link === link.name &&
      entry.peer === peer.id && entry.address === peer.address;
    // The newest entry may be about an earlier peering with the same address. A status is up to a second older than its
    // time.
    const newest = this.recent.find(isOfPeer);
    const established = seen - (peer.connected ?? 0);
    return newest?.kind === 'disconnected' && newest.time > established - 2 ? newest : undefined;
  }

  /** Returns whether a peer that is missing in the status has left, and is not one of those that the bridge left out. */
  hasLeft(link, peer, seen) {
    return this.omitted(link.name) === 0 || this.disconnectOf(link, peer, seen) !== undefined;
  }

  rulesOf(name) {
    return this.rules.filter((rule) => linksOf(rule).includes(name));
  }

  nodesOf(link, peer) {
    return (this.status?.nodes ?? []).filter((node) => node.link === link.name && node.peer === peer.id);
  }

  /** Returns the number of denials of a peer in the last minute. */
  deniedNow(link, peer) {
    return this.#marked.get(key(link.name, peer.id)) ?? this.#marked.get(key(link.name, peer.address)) ?? 0;
  }

  /** Returns the recent failures of a link, newest first, no older than a minute. */
  failuresNow(link) {
    return this.recent.filter(
      (entry) => entry.kind === 'failed' && entry.link === link.name && isMarked(entry, this.time),
    );
  }

  /** Returns the addresses that a link connects to and has no peering with. */
  missing(link) {
    const addresses = new Set((link.peers ?? []).map((peer) => peer.address));
    // A zeromq:// address leads to the two sockets of a proxy, which are peers with addresses of their own.
    const isThere = (target) =>
      addresses.has(target) || (target.startsWith('zeromq://') && link.ready) || this.#isOmitted(link, target);
    return (link.connecting ?? []).filter((target) => !isThere(target));
  }

  // Whether the bridge may have left out the peer at an address: nothing shows that there is no peering.
  #isOmitted(link, target) {
    if (this.omitted(link.name) === 0) return false;
    const isOfTarget = (entry) => entry.kind !== 'denied' && entry.link === link.name && entry.address === target;
    const newest = this.recent.find(isOfTarget);
    return link.ready || newest === undefined || newest.kind === 'connected';
  }
}

function* counters(status) {
  for (const link of status.links) {
    for (const name of ['messages_in', 'messages_out', 'bytes_in', 'bytes_out', 'malformed']) {
      yield [key('link', link.name, name), link[name] ?? 0];
    }
    yield [key('link', link.name, 'denied'), sum(link.refused)];
    yield [key('link', link.name, 'dropped'), dropped(link)];
    for (const peer of link.peers) {
      const at = peerKey(link, peer);
      for (const name of ['messages_in', 'messages_out']) yield [key('peer', at, name), peer[name] ?? 0];
      yield [key('peer', at, 'dropped'), dropped(peer)];
    }
  }
  for (const rule of status.rules) {
    yield [key('rule', rule.name, 'passed'), rule.passed];
    yield [key('rule', rule.name, 'denied'), sum(rule.refused)];
  }
  for (const flow of status.flows ?? []) yield [key('flow', flow.from, flow.to), flow.messages];
  yield [key('denied'), sum(status.refused)];
}

/** Returns the number of messages to a link or a peer that were dropped. */
export function dropped(counters) {
  return counters.dropped + (counters.not_carried ?? 0) + (counters.lost_to_chaos ?? 0);
}

// An entry with a time in the future was made before the clock was set back.
function isMarked(entry, now) {
  return Math.abs(now - entry.time) <= MARKED;
}

// A peer that is denied often has at most ten entries, and `suppressed` counts the others.
function markedDenials(status, now) {
  const marked = new Map();
  for (const entry of status.recent ?? []) {
    if (entry.kind !== 'denied' || !isMarked(entry, now)) continue;
    const at = key(entry.link, entry.peer ?? entry.address);
    marked.set(at, (marked.get(at) ?? 0) + 1 + (entry.suppressed ?? 0));
  }
  return marked;
}
