// One plot over time: lines, axes, a legend that hides series, and a reading at the pointer or the arrow keys.

import { button, el, isolated, reconcile, svg } from './dom.js';
import { timeOfDay } from './format.js';
import { linear, logarithmic, timeTicks } from './scale.js';
import { seriesClass } from './styles.js';
import { setAttribute, setLongText, setText } from './text.js';

const HEIGHT = 148;
const MARGIN = { left: 52, right: 10, top: 8, bottom: 20 };

// More lines cannot be distinguished, and are slow to draw.
const LINES = 16;

// The name of the sum of all other series. A link may be called "other".
const OTHER = Symbol('other');

// A tooltip with more lines would not fit on a phone.
const TOOLTIP_LINES = 10;

/**
 * A plot. `definition` has:
 * - `title`, `note`: the heading, and what is plotted;
 * - `format(value)`: the text of a value on the axis and in the reading;
 * - `series(history)`: a list of `{name, label, values, mirrored, style}`, where `style` is the number of a colour;
 * - `isLog`: whether the axis is logarithmic; `empty`: the text if all values are 0 or missing;
 * - `views`: names of several views, of which `series(history, view)` returns one.
 * `onPoint(index)` is called with the sample at the pointer, or null.
 */
export class Plot {
  #definition;
  #onPoint;
  #hidden = new Set();
  #series = [];
  #history = null;
  #range = 3600;
  #size = { width: 0 };
  #view;

  constructor(definition, onPoint) {
    this.#definition = definition;
    this.#onPoint = onPoint;
    this.#view = definition.views?.[0];
    this.value = el('output', { class: 'plot-value' });
    this.drawing = svg('svg', { height: HEIGHT, 'aria-hidden': 'true' });
    this.cursor = svg('line', { class: 'cursor', y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
    this.empty = el('p', { class: 'plot-empty' });
    this.tooltip = el('div', { class: 'tooltip', hidden: true });
    this.area = el('div', {
      class: 'plot-area', tabindex: '0', role: 'slider', 'aria-label': `${definition.title}: samples`,
      onpointermove: (event) => this.#pointAt(event), onpointerdown: (event) => this.#pointAt(event),
      onpointerleave: () => this.#point(null), onblur: () => this.#point(null), onkeydown: (event) => this.#key(event),
    }, this.drawing, this.empty, this.tooltip);
    this.legend = el('ul', { class: 'legend' });
    const views = definition.views && el('div', { class: 'switch', role: 'group', 'aria-label': 'group by' },
      ...definition.views.map((view) => button({ 'data-view': view, onclick: () => this.#setView(view) }, view)));
    this.views = views;
    this.element = el('section', { class: `plot ${definition.class ?? ''}` },
      el('header', {}, el('h3', {}, definition.title),
        el('span', { class: 'note', title: definition.note }, definition.note), views, this.value),
      this.area, this.legend);
    new ResizeObserver(() => this.#draw()).observe(this.area);
    this.#showView();
  }

  #setView(view) {
    this.#view = view;
    this.#showView();
    this.update(this.#history, this.#range);
  }

  #showView() {
    for (const choice of this.views?.children ?? []) {
      setAttribute(choice, 'aria-pressed', String(choice.dataset.view === this.#view));
    }
  }

  /** Shows the last `range` seconds. */
  update(history, range) {
    this.#history = history;
    this.#range = range;
    if (!history) return;
    const samples = Math.min(history.length, Math.round(range / history.interval) + 1);
    const cut = (series) => ({ ...series, values: series.values.slice(-samples) });
    this.#series = summarized(this.#definition.series(history, this.#view).map(cut));
    this.#draw();
  }

  // The axes, and the lines of the series that are not hidden.
  #draw() {
    const width = this.area.clientWidth;
    if (!this.#history || width === 0) return;
    this.#size = { width };
    setAttribute(this.drawing, 'width', width);
    const shown = this.#series.filter((series) => !this.#hidden.has(series.name));
    const { highest, lowest } = boundsOf(shown);
    const isMirrored = this.#series.some((series) => series.mirrored);
    const axis = this.#definition.isLog
      ? logarithmic(Math.min(1e-4, lowest), Math.max(1e-3, highest))
      : linear(highest || 1, isMirrored);
    const bottom = HEIGHT - MARGIN.bottom;
    const y = (value) => bottom - axis.position(value) * (bottom - MARGIN.top);
    const [end, left, right] = [this.#history.end, MARGIN.left, width - MARGIN.right];
    const x = (time) => right - ((end - time) / this.#range) * (right - left);
    this.x = (index) => x(end - (this.#history.length - 1 - index) * this.#history.interval);
    const axes = axis.ticks.flatMap((tick) => [
      svg('line', { class: tick === 0 ? 'axis' : 'grid', x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      svg('text', { class: 'tick', x: left - 6, y: y(tick) + 3.5, 'text-anchor': 'end' },
        this.#definition.format(Math.abs(tick))),
    ]);
    const times = timeTicks(end - this.#range, end, Math.max(2, Math.floor(width / 80))).flatMap((time) => [
      svg('line', { class: 'grid', x1: x(time), x2: x(time), y1: MARGIN.top, y2: bottom }),
      svg('text', { class: 'tick', x: Math.min(x(time), right - 12), y: HEIGHT - 5, 'text-anchor': 'middle' },
        timeOfDay(time, false)),
    ]);
    const step = (this.#history.interval / this.#range) * (right - left);
    const lines = shown.map((series) => svg('path', {
      class: `line ${seriesClass(series.style)} ${series.class ?? ''}`,
      d: line(series, (index) => right - (series.values.length - 1 - index) * step, y),
    }));
    this.drawing.replaceChildren(...times, ...axes, ...lines, this.cursor);
    const isEmpty = highest === 0;
    setText(this.empty, this.#history.length === 0 ? 'no samples yet' : isEmpty ? this.#definition.empty : '');
    this.#showLegend();
    this.#cursorAt(this.index ?? null);
    setAttribute(this.area, 'aria-valuemin', 0);
    setAttribute(this.area, 'aria-valuemax', Math.max(0, this.#history.length - 1));
    if (this.index === undefined) setAttribute(this.area, 'aria-valuenow', Math.max(0, this.#history.length - 1));
    setText(this.value, this.#definition.now?.(this.#history) ?? '');
  }

  // One entry for each name; a mirrored plot has two series with one name.
  #showLegend() {
    const names = new Map(this.#series.map((series) => [series.name, series]));
    const entries = this.#definition.hasLegend === false ? [] : [...names.values()];
    const create = (series) => el('li', {},
      button({ onclick: () => this.#toggle(series.name) },
        svg('svg', { width: 16, height: 8, 'aria-hidden': 'true' }, svg('path', { class: 'line', d: 'M1 4H15' })),
        isolated()));
    const update = (item, series) => {
      const [swatch, name] = item.firstChild.children;
      const style = `line ${seriesClass(series.style)} ${series.class ?? ''}`;
      setAttribute(swatch.firstChild, 'class', style);
      setLongText(name, series.label ?? series.name);
      setAttribute(item.firstChild, 'aria-pressed', String(!this.#hidden.has(series.name)));
    };
    reconcile(this.legend, entries, (series) => series.name, create, update);
  }

  #toggle(name) {
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
    this.#draw();
  }

  #valueAt(series, index) {
    return series.values[series.values.length - (this.#history.length - index)] ?? null;
  }

  #readingOf(name, index) {
    const values = this.#series.filter((series) => series.name === name).map((series) => this.#valueAt(series, index));
    const texts = values.map((value) => (value === null ? '–' : this.#definition.format(value)));
    return texts.length === 2 ? `↓ ${texts[0]} ↑ ${texts[1]}` : texts[0] ?? '';
  }

  #pointAt(event) {
    if (!this.#history?.length) return;
    const box = this.area.getBoundingClientRect();
    const [left, right] = [MARGIN.left, this.#size.width - MARGIN.right];
    const back = ((right - (event.clientX - box.left)) / (right - left)) * this.#range;
    this.#point(this.#history.length - 1 - Math.round(back / this.#history.interval));
  }

  #key(event) {
    const last = (this.#history?.length ?? 0) - 1;
    const at = this.index ?? last;
    const target = {
      ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 12, PageDown: at + 12, Home: 0, End: last, Escape: null,
    }[event.key];
    // Escape also closes the details panel, unless it closes the reading of a plot.
    if (target === undefined || (target === null && this.index === undefined)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#point(target);
  }

  #point(index) {
    const first = this.#history ? this.#history.length - Math.round(this.#range / this.#history.interval) - 1 : 0;
    const last = (this.#history?.length ?? 0) - 1;
    const at = index === null || last < 0 ? null : Math.min(last, Math.max(0, first, index));
    this.#onPoint(at);
    this.#showTooltip(at);
  }

  /** Marks a sample, or none. All plots mark the same one. */
  mark(index) {
    this.index = index ?? undefined;
    this.#cursorAt(index);
    if (index === null) this.tooltip.hidden = true;
  }

  #cursorAt(index) {
    setAttribute(this.cursor, 'visibility', index === null ? 'hidden' : 'visible');
    if (index === null || !this.x) return;
    setAttribute(this.cursor, 'x1', this.x(index));
    setAttribute(this.cursor, 'x2', this.x(index));
  }

  #showTooltip(index) {
    this.tooltip.hidden = index === null;
    if (index === null) return;
    const time = timeOfDay(this.#history.timeAt(index));
    const names = [...new Map(this.#series.map((series) => [series.name, series])).values()];
    const height = (series) => this.#valueAt(series, index) ?? -1;
    const rows = names.filter((series) => !this.#hidden.has(series.name)).sort((a, b) => height(b) - height(a))
      .slice(0, TOOLTIP_LINES)
      .map((series) => [series.label ?? series.name, this.#readingOf(series.name, index)]);
    this.tooltip.replaceChildren(el('strong', {}, time),
      ...rows.map(([name, value]) => {
        const label = isolated();
        setText(label, name);
        return el('div', {}, label, el('span', { class: 'number' }, value));
      }));
    const x = this.x(index);
    this.tooltip.style.left = x > this.#size.width / 2 ? 'auto' : `${x + 10}px`;
    this.tooltip.style.right = x > this.#size.width / 2 ? `${this.#size.width - x + 10}px` : 'auto';
    setAttribute(this.area, 'aria-valuenow', index);
    setAttribute(this.area, 'aria-valuetext', [time, ...rows.map((row) => row.join(' '))].join(', '));
  }
}

// Returns the highest value, and the lowest one above 0. An hour of many links has too many values for the arguments of
// Math.max.
function boundsOf(all) {
  let [highest, lowest] = [0, Infinity];
  for (const { values } of all) {
    for (const value of values) {
      if (value > highest) highest = value;
      if (value > 0 && value < lowest) lowest = value;
    }
  }
  return { highest, lowest };
}

// Returns the series with the highest sums, and the sum of all others as one series for each direction.
function summarized(all) {
  const sums = new Map();
  for (const { name, values } of all) {
    sums.set(name, values.reduce((total, value) => total + value, sums.get(name) ?? 0));
  }
  if (sums.size <= LINES) return all;
  const highest = [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a)).slice(0, LINES - 1);
  const [kept, label] = [new Set(highest), `${sums.size - highest.length} others`];
  const others = [false, true].flatMap((mirrored) => {
    const part = all.filter((series) => !kept.has(series.name) && (series.mirrored ?? false) === mirrored);
    return part.length === 0 ? [] : [{ name: OTHER, label, values: added(part), mirrored, style: null }];
  });
  return [...all.filter((series) => kept.has(series.name)), ...others];
}

// Adds the values of the same time. The last value of each series is of the same time.
function added(all) {
  const length = all.reduce((longest, { values }) => Math.max(longest, values.length), 0);
  const sums = Array(length).fill(null);
  for (const { values } of all) {
    values.forEach((value, index) => {
      if (value !== null) sums[length - values.length + index] += value;
    });
  }
  return sums;
}

// A missing value is a gap. A single value between two gaps is a dot.
function line(series, x, y) {
  let path = '';
  let isOpen = false;
  series.values.forEach((value, index) => {
    if (value !== null) {
      const at = `${x(index).toFixed(1)} ${y(series.mirrored ? -value : value).toFixed(1)}`;
      path += isOpen ? `L${at}` : `M${at}h0.01`;
    }
    isOpen = value !== null;
  });
  return path;
}
