// The samples of the last hour: one series of numbers for each link, reason, rule or percentile.

// As many samples as the bridge keeps: one hour.
const SAMPLES = 720;

const LINK_GROUPS = ['messages_in', 'messages_out', 'bytes_in', 'bytes_out', 'dropped', 'denied', 'queued'];

/** Yields `[group, name, values]` for each series of a document. */
function* seriesOf(document) {
  for (const link of document.links ?? []) {
    for (const group of LINK_GROUPS) yield [group, link.name, link[group] ?? []];
  }
  for (const [reason, values] of Object.entries(document.denied ?? {})) yield ['denied_by_reason', reason, values];
  for (const [rule, values] of Object.entries(document.rules ?? {})) yield ['denied_by_rule', rule, values];
  yield ['latency', 'p50', document.latency_p50 ?? []];
  yield ['latency', 'p99', document.latency_p99 ?? []];
  yield ['in_flight', 'requests', document.in_flight ?? []];
}

export class History {
  #groups = new Map();
  #isLoaded = false;

  constructor() {
    this.interval = 5;
    /** The time of the newest sample in Unix seconds. It is 0 if there is none. */
    this.end = 0;
    this.length = 0;
  }

  /** Replaces all samples by those of a document. */
  load(document) {
    const all = [...seriesOf(document)];
    this.#isLoaded = true;
    this.#groups.clear();
    this.interval = document.interval ?? 5;
    this.end = document.end ?? 0;
    const longest = all.reduce((most, [, , values]) => Math.max(most, values.length), 0);
    this.length = Math.min(SAMPLES, longest);
    for (const [group, name, values] of all) this.#group(group).set(name, padded(values, this.length));
  }

  /**
   * Adds a sample. Returns false if samples before it are missing, or if the clock of the bridge was set back: then load
   * all of them.
   */
  append(sample) {
    if (sample.end < this.end - this.interval * 1.5) return false;
    if (sample.end <= this.end + this.interval / 2) return this.#isLoaded;
    if (this.end > 0 && sample.end > this.end + this.interval * 1.5) return false;
    const newest = [...seriesOf(sample)];
    for (const [group, name] of newest) {
      if (!this.#group(group).has(name)) this.#group(group).set(name, padded([], this.length));
    }
    const values = new Map(newest.map(([group, name, list]) => [`${group} ${name}`, list.at(-1) ?? null]));
    for (const [group, series] of this.#groups) {
      for (const [name, list] of series) {
        list.push(values.get(`${group} ${name}`) ?? null);
        if (list.length > SAMPLES) list.shift();
        // The series of a link that was removed an hour ago.
        if (list.every((value) => value === null) && !values.has(`${group} ${name}`)) series.delete(name);
      }
    }
    this.length = Math.min(SAMPLES, this.length + 1);
    this.end = sample.end;
    return this.#isLoaded;
  }

  #group(name) {
    if (!this.#groups.has(name)) this.#groups.set(name, new Map());
    return this.#groups.get(name);
  }

  /** Returns the series of a group: a map from names to values, oldest first, the last one at `end`. */
  group(name) {
    return this.#groups.get(name) ?? new Map();
  }

  /** Returns the newest value that is not null among the last `samples`. */
  newest(group, name, samples) {
    const values = this.group(group).get(name) ?? [];
    return values.slice(-samples).findLast((value) => value !== null) ?? null;
  }

  timeAt(index) {
    return this.end - (this.length - 1 - index) * this.interval;
  }
}

function padded(values, length) {
  const kept = values.slice(-length);
  return [...Array(length - kept.length).fill(null), ...kept];
}
