// The facts that the details panel shows about a link, a peer, a node or a rule, as sections.
//
// A section has a `title` and one of: `rows` of label and value, `entries` with times, `links` to other details,
// `items` with `more`, the text about those that are left out, or a `text`.

import { protocolName, protocolsOf, proofOf } from './cards.js';
import { byteRate, bytes, count, dateTime, duration, plural, rate, timeOfDay, words } from './format.js';
import { dropped, key, linksOf, peerKey, peerName, sum } from './model.js';

const ENTRIES = 10;
const PEERS = 50;

/**
 * Returns `{title, sections}` for a selection, and `peer` if it is one. Returns null if it is not in the status any more.
 */
export function sectionsOf(model, selection) {
  const kinds = { link: linkFacts, peer: peerFacts, node: nodeFacts, rule: ruleFacts };
  const facts = kinds[selection.kind](model, selection);
  if (!facts) return null;
  // Sections without content are left out.
  const isUsed = (section) => section.text || section.rows?.length || section.entries?.length ||
    section.links?.length || section.items?.length || section.more;
  return { ...facts, sections: facts.sections.filter(isUsed) };
}

function linkFacts(model, { link: name }) {
  const link = model.link(name);
  if (!link) return null;
  const isOfLink = (entry) => entry.link === name;
  const traffic = (counter, unit) => `${unit(link[counter] ?? 0)} (${unitRate(unit, model.linkRate(link, counter))})`;
  return {
    title: name,
    sections: [
      { title: 'link', rows: [
        ['state', link.ready ? 'ready' : `not ready: ${notReady(model, link)}`, link.ready ? null : 'warn'],
        ...link.listening.map((address, index) => [index ? `listens (${index + 1})` : 'listens', address]),
        ...link.connecting.map((address, index) => [index ? `connects (${index + 1})` : 'connects', address]),
        ['protocol', protocolsOf(link) || 'Broker'],
        ['TLS', link.tls],
        ...certificateRow(link, model.time),
        ['own endpoint id', link.id],
      ] },
      { title: 'counters', rows: [
        ['received', traffic('messages_in', count)],
        ['sent', traffic('messages_out', count)],
        ['received bytes', traffic('bytes_in', bytes)],
        ['sent bytes', traffic('bytes_out', bytes)],
        ...problems([['queue full', link.dropped], ['not carried by the protocol', link.not_carried],
          ['dropped by fault injection', link.lost_to_chaos], ['could not be decoded', link.malformed],
          ['disconnected: queue full', link.overflows], ['strings altered', link.altered_strings]]),
      ] },
      { title: 'denied, by reason', rows: problems(Object.entries(link.refused ?? {})) },
      { title: 'failures, by cause', rows: problems(Object.entries(link.failures ?? {})) },
      lastError(model, isOfLink),
      lastDenials(model, isOfLink),
      {
        title: `peers: ${count(link.peers.length + model.omitted(name))}`,
        links: link.peers.slice(0, PEERS).map((peer) => peerLink(link, peer)),
      },
      rulesSection(model.rulesOf(name)),
    ],
  };
}

function unitRate(unit, number) {
  return unit === bytes ? byteRate(number) : rate(number);
}

function peerFacts(model, { link: name, key: at }) {
  const link = model.link(name);
  const peer = link?.peers.find((peer) => peerKey(link, peer) === at);
  if (!peer) return null;
  const isOfPeer = (entry) => entry.link === name &&
    (entry.peer ? entry.peer === peer.id : entry.address === peer.address);
  const total = (counter) => `${count(peer[counter] ?? 0)} (${rate(model.peerRate(link, peer, counter))})`;
  return {
    title: peerName(peer),
    peer,
    sections: [
      { title: 'peer', rows: [
        ['link', name],
        ['protocol', [protocolName(peer.protocol), peer.socket].filter((part) => part).join(', ')],
        ['address', peer.address],
        ['connected for', duration(peer.connected)],
        ['endpoint id', peer.id],
      ] },
      { title: 'identity', rows: [
        ['proven by', peer.identity ? proofOf(peer.identity) : 'nothing: no certificate, token or key'],
        ...(peer.identity ? [['identity', peer.identity]] : []),
        ...(peer.name ? [['claims the name', peer.name]] : []),
      ] },
      { title: 'counters', rows: [
        ['received', total('messages_in')],
        ['sent', total('messages_out')],
        ['queue', `${plural(peer.queued, 'message')}, ${bytes(peer.queued_bytes)}`],
        ...problems([['dropped: queue full', peer.dropped], ['dropped: not carried', peer.not_carried]]),
      ] },
      nodesSection(model.nodesOf(link, peer)),
      filterSection(peer),
      lastError(model, isOfPeer),
      lastDenials(model, isOfPeer),
      rulesSection(model.rulesOf(name)),
    ],
  };
}

function nodeFacts(model, { name }) {
  const node = (model.status.nodes ?? []).find((node) => node.name === name);
  if (!node) return null;
  const link = model.link(node.link);
  const peer = link?.peers.find((peer) => peer.id === node.peer);
  const requests = (model.status.requests ?? []).filter((request) => request.node === name);
  return {
    title: name,
    sections: [
      { title: 'node', rows: [['link', node.link], ['peer', peer ? peerName(peer) : node.peer],
        ...(peer ? [['protocol', protocolName(peer.protocol)], ['identity', peer.identity ?? 'none']] : [])] },
      { title: 'its peer', links: peer ? [peerLink(link, peer)] : [] },
      { title: 'requests in flight', rows: requests.map(({ request, age }) => [request, `${age.toFixed(1)} s`]) },
      lastDenials(model, (entry) => entry.node === name || (entry.link === node.link && entry.peer === node.peer)),
      rulesSection(model.rulesOf(node.link)),
    ],
  };
}

function ruleFacts(model, { name }) {
  const rule = model.rules.find((rule) => rule.name === name);
  if (!rule) return null;
  return {
    title: name,
    sections: [
      { title: 'rule', rows: [
        ['from', (rule.from ?? []).join(', ')],
        ['to', (rule.to ?? []).join(', ')],
        ['passed', `${count(rule.passed)} (${rate(model.rate('rule', name, 'passed'))})`],
        ['denied', `${count(sum(rule.refused))} (${rate(model.rate('rule', name, 'denied'))})`],
        ...problems([['invalid', rule.invalid]]),
      ] },
      { title: 'denied, by reason', rows: problems(Object.entries(rule.refused ?? {})) },
      { title: 'links', links: linksOf(rule).map((link) => ({ name: link, selection: { kind: 'link', link } })) },
      lastDenials(model, (entry) => entry.rule === name),
      { title: 'conditions', text: 'The topics, events and senders of a rule are in the configuration file.' },
    ],
  };
}

/** Returns why a link is not ready. */
export function notReady(model, link) {
  const missing = model.missing(link);
  return missing.length > 0 ? `no peering with ${missing.join(', ')}` : 'cannot listen on some addresses; see the log';
}

// Counters that are 0 if all is well are left out.
function problems(counts) {
  return counts.filter(([, number]) => number > 0).map(([name, number]) => [words(name), count(number), 'bad']);
}

const EXPIRES_SOON = 30 * 86400;

function certificateRow(link, now) {
  if (!link.certificate_expires) return [];
  const left = link.certificate_expires - now;
  const text = left > 0 ? `in ${duration(left)}` : `${duration(-left)} ago`;
  const mark = left < EXPIRES_SOON ? 'warn' : null;
  return [['certificate expires', `${dateTime(link.certificate_expires)}, ${text}`, mark]];
}

function lastError(model, isIncluded) {
  const error = model.recent.find((entry) => ['failed', 'disconnected'].includes(entry.kind) && isIncluded(entry));
  return { title: 'last error', entries: error ? [entryOf(error, 0)] : [] };
}

function lastDenials(model, isIncluded) {
  const denials = model.recent.filter((entry) => entry.kind === 'denied' && isIncluded(entry));
  return { title: 'last denials', entries: denials.slice(0, ENTRIES).map(entryOf) };
}

function entryOf(entry, index) {
  const more = entry.suppressed ? ` (and ${count(entry.suppressed)} similar)` : '';
  const rule = entry.rule ? ` [rule ${entry.rule}]` : '';
  return {
    key: key(entry.time, entry.reason, entry.topic, entry.event, index),
    time: timeOfDay(entry.time),
    what: [entry.topic, entry.event, entry.node].filter((part) => part).join(' · '),
    text: `${entry.text || words(entry.reason)}${rule}${more}`,
  };
}

// The bridge sends the first topics of a long filter.
function filterSection({ filter, omitted_topics: omitted = 0 }) {
  return {
    title: `filter: ${plural(filter.length + omitted, 'topic')}`, items: filter,
    more: omitted > 0 ? `and ${count(omitted)} more` : null,
  };
}

function peerLink(link, peer) {
  return { name: peerName(peer), selection: { kind: 'peer', link: link.name, key: peerKey(link, peer) } };
}

function rulesSection(rules) {
  return { title: 'rules', links: rules.map(({ name }) => ({ name, selection: { kind: 'rule', name } })) };
}

function nodesSection(nodes) {
  return { title: 'nodes', links: nodes.map(({ name }) => ({ name, selection: { kind: 'node', name } })) };
}
