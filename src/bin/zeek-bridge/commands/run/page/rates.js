// Rates per second, from counters that are read about once a second.

// The time constant of the smoothing, in seconds. A number that changes completely each second is hard to read.
const SMOOTHING = 2;

/** Smoothed rates of many counters. A counter that is missing in an update is forgotten. */
export class Rates {
  #counters = new Map();
  #time = null;

  /** Updates the rates from the values of all counters at a time: an iterable of `[key, value]`. */
  update(time, values) {
    const elapsed = this.#time === null ? 0 : time - this.#time;
    const weight = 1 - Math.exp(-elapsed / SMOOTHING);
    const next = new Map();
    for (const [key, value] of values) {
      const before = this.#counters.get(key);
      next.set(key, before === undefined ? { value, rate: null } : advance(before, value, elapsed, weight));
    }
    this.#counters = next;
    this.#time = time;
  }

  /** Returns the rate, or 0 if the counter was read only once. */
  get(key) {
    return this.#counters.get(key)?.rate ?? 0;
  }

  clear() {
    this.#counters.clear();
    this.#time = null;
  }
}

function advance(before, value, elapsed, weight) {
  // The clock was set back. What was counted in this time is left out.
  if (elapsed <= 0) return { value, rate: before.rate };
  // A smaller value means that the counter was reset, for example by a reload.
  const now = Math.max(0, value - before.value) / elapsed;
  const rate = before.rate === null ? now : before.rate + weight * (now - before.rate);
  // The smoothed rate of an idle counter approaches zero, but never reaches it.
  return { value, rate: rate < 0.005 ? 0 : rate };
}
