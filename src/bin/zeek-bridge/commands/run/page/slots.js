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
   * Returns the slots to show, in order. Each of `peers` has a `key` and a `weight`. A slot has `seen`, the time of the
   * last update with its peer. If the peer is missing, `hasLeft(slot)` decides whether the slot remains for a while, with
   * `isGone`, or is removed.
   */
  update(peers, now, hasLeft = () => true) {
    const present = new Map(peers.map((peer) => [peer.key, peer]));
    this.#slots = this.#slots
      .filter((slot) => present.has(slot.key) || slot.isGone || hasLeft(slot))
      .map((slot) => {
        const peer = present.get(slot.key);
        if (peer) return { ...peer, isGone: false, seen: now };
        return { ...slot, isGone: true, goneAt: slot.isGone ? slot.goneAt : now, weight: -1 };
      })
      // The clock may be set back.
      .filter((slot) => !slot.isGone || Math.abs(now - slot.goneAt) < KEPT);
    const shown = new Set(this.#slots.map((slot) => slot.key));
    const waiting = peers.filter((peer) => !shown.has(peer.key)).sort((a, b) => b.weight - a.weight);
    for (const peer of waiting) {
      if (this.#slots.length < this.#limit) this.#slots.push({ ...peer, isGone: false, seen: now });
      else if (!this.#replace(peer, now)) break;
    }
    return this.#slots;
  }

  #replace(peer, now) {
    const least = this.#slots.reduce((least, slot) => (slot.weight < least.weight ? slot : least));
    if (!least.isGone && peer.weight <= Math.max(0.1, least.weight) * MARGIN) return false;
    this.#slots[this.#slots.indexOf(least)] = { ...peer, isGone: false, seen: now };
    return true;
  }
}
