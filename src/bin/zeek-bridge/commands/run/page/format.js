// Numbers, durations and times as text.

const PREFIXES = ['', 'k', 'M', 'G', 'T'];

function compact(number, unit) {
  if (!Number.isFinite(number)) return '–';
  let [value, index] = [Math.abs(number), 0];
  while (value >= 999.5 && index < PREFIXES.length - 1) {
    value /= 1000;
    index += 1;
  }
  const digits = value >= 99.5 || (index === 0 && Number.isInteger(value)) ? 0 : value >= 9.95 ? 1 : 2;
  // 1.50 is shown as 1.5, and 2.00 as 2.
  const text = value === 0 ? '0' : String(Number(value.toFixed(digits)));
  const suffix = `${PREFIXES[index]}${unit}`;
  return `${number < 0 ? '−' : ''}${text}${suffix && ` ${suffix}`}`;
}

/** Returns a number in at most three digits and a prefix: `12.3 k`. */
export function short(number) {
  return compact(number, '');
}

/** Returns a rate per second: `12.3 k/s`. */
export function rate(number) {
  // A smoothed rate never reaches zero.
  return `${compact(Math.abs(number) < 0.005 ? 0 : number, '')}/s`;
}

/** Returns a number of bytes: `1.2 MB`. */
export function bytes(number) {
  return compact(number, 'B');
}

export function byteRate(number) {
  return `${compact(number < 0.5 ? 0 : number, 'B')}/s`;
}

/** Returns a number with all of its digits, in groups of three. */
export function count(number) {
  return Number.isFinite(number) ? Math.round(number).toLocaleString('en') : '–';
}

/** Returns a short time: `250 µs`, `1.2 ms`, `3 s`. */
export function latency(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  for (const [size, unit] of [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs']]) {
    if (seconds >= size * 0.9995 || unit === 'µs') return `${Number((seconds / size).toPrecision(3))} ${unit}`;
  }
  return '';
}

/** Returns a duration with its two largest units: `3 d 4 h`. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  const total = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(total / 86400), 'd'],
    [Math.floor(total / 3600) % 24, 'h'],
    [Math.floor(total / 60) % 60, 'min'],
    [total % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return '0 s';
  return parts.slice(first, first + 2).filter(([value]) => value > 0).map((part) => part.join(' ')).join(' ');
}

/** Returns the local time of day of a Unix time. */
export function timeOfDay(unix, withSeconds = true) {
  const options = { hour: '2-digit', minute: '2-digit', hour12: false };
  return new Date(unix * 1000).toLocaleTimeString('en-GB', withSeconds ? { ...options, second: '2-digit' } : options);
}

/** Returns the local date and time of a Unix time. */
export function dateTime(unix) {
  const date = new Date(unix * 1000);
  const two = (number) => String(number).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${timeOfDay(unix)}`;
}

/** Returns `1 peer` or `2 peers`. */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}

/** Returns the name of a reason or a cause as words: `no_rule` becomes `no rule`. */
export function words(name) {
  return String(name ?? '').replaceAll('_', ' ');
}
