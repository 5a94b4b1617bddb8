// Axes: ticks at round numbers, and the mapping from values to pixels.

/** Returns a linear axis from 0 to at least `highest`, or from `-highest` if it is mirrored. */
export function linear(highest, isMirrored) {
  const step = niceStep(highest / (isMirrored ? 2 : 3));
  const top = Math.max(step, Math.ceil(highest / step - 1e-9) * step);
  const ticks = [];
  for (let index = 0; index * step <= top * 1.0001; index += 1) ticks.push(index * step);
  const bottom = isMirrored ? -top : 0;
  const all = isMirrored ? [...ticks.slice(1).map((tick) => -tick).reverse(), ...ticks] : ticks;
  return { ticks: all, position: (value) => (value - bottom) / (top - bottom) };
}

/** Returns a logarithmic axis with whole decades that contains both numbers. */
export function logarithmic(lowest, highest) {
  const first = Math.floor(Math.log10(lowest) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(highest) - 1e-9));
  const every = Math.ceil((last - first) / 4);
  const ticks = [];
  for (let decade = first; decade <= last; decade += every) ticks.push(10 ** decade);
  return {
    ticks,
    position: (value) => (value > 0 ? (Math.log10(value) - first) / (last - first) : 0),
  };
}

// Returns the smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `step`.
function niceStep(step) {
  if (!(step > 0)) return 1;
  const decade = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * decade).find((nice) => nice >= step * 0.9999);
}

/** Returns the Unix times of the ticks of a time axis, at round local times. */
export function timeTicks(from, to, most) {
  const minutes = [1, 2, 3, 5, 10, 15, 20, 30].find((step) => (to - from) / 60 / step <= most) ?? 60;
  const step = minutes * 60;
  const offset = new Date(to * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  for (let time = Math.ceil((from - offset) / step) * step + offset; time <= to; time += step) ticks.push(time);
  return ticks;
}
