// Chooses which peers of a link the picture shows, and in which order, so that it does not jump from update to update.

// A peer that left stays in its place for this long, in seconds, so that an operator sees that it left.
const KEPT = 12;

// A peer replaces one with a lower rate only if it is this many times as busy.
const MARGIN = 1.5;

/** The slots of a link. A peer keeps its slot as long as it is one of the busiest. */
export class Slots {
  #limit;
  #slots = [];

  constructor(limit) {
    this.#limit = limit;
  }

  /**
   * Takes all peers, each with a `key` and a `weight`, and returns the peers to show, in order. A peer that left has
   * `isGone`.
   */
  update(peers, now) {
    const present = new Map(peers.map((peer) => [peer.key, peer]));
    this.#slots = this.#slots
      .map((slot) => {
        const peer = present.get(slot.key);
        if (peer) return { ...peer, isGone: false };
        return { ...slot, isGone: true, goneAt: slot.isGone ? slot.goneAt : now, weight: -1 };
      })
      .filter((slot) => !slot.isGone || Math.abs(now - slot.goneAt) < KEPT);
    const shown = new Set(this.#slots.map((slot) => slot.key));
    const waiting = peers.filter((peer) => !shown.has(peer.key)).sort((a, b) => b.weight - a.weight);
    for (const peer of waiting) {
      if (this.#slots.length < this.#limit) this.#slots.push({ ...peer, isGone: false });
      else if (!this.#replace(peer)) break;
    }
    return this.#slots;
  }

  #replace(peer) {
    const least = this.#slots.reduce((least, slot) => (slot.weight < least.weight ? slot : least));
    if (!least.isGone && peer.weight <= Math.max(0.1, least.weight) * MARGIN) return false;
    this.#slots[this.#slots.indexOf(least)] = { ...peer, isGone: false };
    return true;
  }
}
