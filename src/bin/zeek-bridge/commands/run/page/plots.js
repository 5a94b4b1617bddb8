// The plots of the last hour.

import { button, choice, storeChoice } from './dom.js';
import { byteRate, bytes, latency, rate, short, words } from './format.js';
import { Plot } from './plot.js';
import { styleOf } from './styles.js';
import { setAttribute } from './text.js';

const RANGES = [[300, '5 min'], [900, '15 min'], [3600, '1 h']];

function byLink(history, group, mirrored = false) {
  return [...history.group(group)].map(([name, values]) => ({ name, values, mirrored, style: styleOf('link', name) }));
}

// Reasons and rules without a denial in the last hour are left out.
function denials(history, view) {
  if (view === 'link') return byLink(history, 'denied').filter(isUsed);
  const all = [...history.group(`denied_by_${view}`)];
  return all
    .map(([name, values]) => ({
      name, values, label: view === 'reason' ? words(name) : name, style: styleOf(view, name),
    }))
    .filter(isUsed);
}

function isUsed(series) {
  return series.values.some((value) => value > 0);
}

function newest(history, group) {
  return [...history.group(group).values()].reduce((total, values) => total + (values.at(-1) ?? 0), 0);
}

function percentiles(history) {
  return ['p50', 'p99'].map((name, style) => ({
    name, values: history.group('latency').get(name) ?? [], style, class: style ? 'dashed' : '',
  }));
}

const DEFINITIONS = [
  {
    title: 'Messages', note: 'per second, by link: received above, sent below', class: 'wide', format: short,
    series: (history) => [...byLink(history, 'messages_in'), ...byLink(history, 'messages_out', true)],
    now: (history) => `↓ ${rate(newest(history, 'messages_in'))}  ↑ ${rate(newest(history, 'messages_out'))}`,
    empty: 'no messages in this time',
  },
  {
    title: 'Bytes', note: 'per second, by link: received above, sent below', class: 'wide', format: bytes,
    series: (history) => [...byLink(history, 'bytes_in'), ...byLink(history, 'bytes_out', true)],
    now: (history) => `↓ ${byteRate(newest(history, 'bytes_in'))}  ↑ ${byteRate(newest(history, 'bytes_out'))}`,
    empty: 'no bytes in this time',
  },
  {
    title: 'Denials', note: 'messages per second', class: 'wide alarm', format: short, series: denials,
    views: ['reason', 'rule', 'link'], now: (history) => rate(newest(history, 'denied_by_reason')),
    empty: 'nothing denied in this time',
  },
  {
    title: 'Relay latency', note: 'p50 and p99, logarithmic', format: latency, isLog: true, series: percentiles,
    now: (history) => `p99 ${latency(history.newest('latency', 'p99', 12) ?? NaN)}`,
    empty: 'no message was measured in this time',
  },
  {
    title: 'Drops', note: 'messages per second, by link', class: 'alarm', format: short,
    series: (history) => byLink(history, 'dropped').filter(isUsed),
    now: (history) => rate(newest(history, 'dropped')), empty: 'nothing dropped in this time',
  },
  {
    title: 'Queues', note: 'messages queued for peers, by link', format: short,
    series: (history) => byLink(history, 'queued'),
    now: (history) => short(newest(history, 'queued')), empty: 'all queues were empty',
  },
  {
    title: 'Requests in flight', note: 'node API', format: short, hasLegend: false,
    series: (history) => [...history.group('in_flight')].map(([name, values]) => ({ name, values, style: 0 })),
    now: (history) => short(newest(history, 'in_flight')), empty: 'no requests in this time',
  },
];

export class Plots {
  #plots;
  #history = null;
  #chosen = Number(choice('range')) || null;

  constructor(root, ranges) {
    this.#plots = DEFINITIONS.map((definition) => new Plot(definition, (index) => this.#mark(index)));
    root.append(...this.#plots.map((plot) => plot.element));
    this.buttons = RANGES.map(([seconds, label]) => button({ onclick: () => this.#choose(seconds) }, label));
    ranges.append(...this.buttons);
    this.#showRange();
  }

  #choose(seconds) {
    this.#chosen = seconds;
    storeChoice('range', seconds);
    this.update(this.#history);
  }

  // Until a range is chosen, the shortest one that contains all samples.
  get #range() {
    const held = (this.#history?.length ?? 0) * (this.#history?.interval ?? 0);
    return this.#chosen ?? RANGES.find(([seconds]) => seconds >= held)?.[0] ?? 3600;
  }

  #showRange() {
    this.buttons.forEach((element, index) => {
      setAttribute(element, 'aria-pressed', String(RANGES[index][0] === this.#range));
    });
  }

  update(history) {
    this.#history = history;
    this.#showRange();
    for (const plot of this.#plots) {
      try {
        plot.update(history, this.#range);
      } catch (error) {
        // One plot must not stop the others.
        reportError(error);
      }
    }
  }

  #mark(index) {
    for (const plot of this.#plots) plot.mark(index);
  }
}
