// The arrows of the picture, drawn between the cards: from link to link, and between a link and its peers.
//
// On a wide screen, the links are columns. Flows between neighbours are straight; all others go over the columns, each
// in a lane of its own. On a narrow screen, links are below each other, and the cards list the flows instead.

import { reconcile, svg } from './dom.js';
import { rate } from './format.js';
import { key } from './model.js';
import { thickness } from './styles.js';
import { setAttribute, setText } from './text.js';

const LANE = 24;
const CORNER = 8;

export class Arrows {
  constructor() {
    this.lines = svg('g', {});
    this.labels = svg('g', { class: 'labels' });
    this.element = svg('svg', { class: 'arrows', 'aria-hidden': 'true' }, this.lines, this.labels);
  }

  /** Draws the arrows for the current positions of the cards. */
  update(canvas, columns, model) {
    const isStacked = columns.length > 1 && columns[1].element.offsetTop > columns[0].element.offsetTop + 20;
    const flows = isStacked ? [] : flowsOf(columns, model);
    const lanes = assignLanes(flows);
    // The lanes need space above the columns. This changes the positions of the cards.
    canvas.style.paddingTop = `${lanes ? lanes * LANE + 12 : 0}px`;
    const origin = canvas.getBoundingClientRect();
    setAttribute(this.element, 'width', canvas.clientWidth);
    setAttribute(this.element, 'height', canvas.clientHeight);
    const box = (element) => relative(element.getBoundingClientRect(), origin);
    const boxes = columns.map((column) => box(column.card.button));
    const arrows = [
      ...flows.map((flow) => flowArrow(flow, boxes)),
      ...columns.flatMap((column, index) => peerArrows(column, boxes[index], box, model)),
    ];
    reconcile(this.lines, arrows, (arrow) => arrow.key, createArrow, updateArrow);
    reconcile(this.labels, arrows.filter((arrow) => arrow.label), (arrow) => arrow.key, createLabel, updateLabel);
  }
}

function relative(rect, origin) {
  const [left, top] = [rect.left - origin.left, rect.top - origin.top];
  return { left, top, right: left + rect.width, bottom: top + rect.height, width: rect.width, height: rect.height };
}

function flowsOf(columns, model) {
  const indices = new Map(columns.map((column, index) => [column.name, index]));
  return (model.status.flows ?? [])
    .filter((flow) => indices.has(flow.from) && indices.has(flow.to) && flow.from !== flow.to)
    .map((flow) => ({
      key: key('flow', flow.from, flow.to),
      from: indices.get(flow.from),
      to: indices.get(flow.to),
      rate: model.rate('flow', flow.from, flow.to),
    }));
}

// Gives each flow between links that are not neighbours a lane, short flows below long ones. Returns the number of
// lanes.
function assignLanes(flows) {
  const far = flows.filter((flow) => Math.abs(flow.from - flow.to) > 1);
  far.sort((a, b) => Math.abs(a.from - a.to) - Math.abs(b.from - b.to) || a.from - b.from || a.to - b.to);
  const lanes = [];
  for (const flow of far) {
    const [left, right] = [Math.min(flow.from, flow.to), Math.max(flow.from, flow.to)];
    const isFree = (lane) => lane.every(([from, to]) => right <= from || left >= to);
    let lane = lanes.findIndex(isFree);
    if (lane < 0) lane = lanes.push([]) - 1;
    lanes[lane].push([left, right]);
    flow.lane = lane;
  }
  // Each link has one port for each of its flows. They are ordered so that flows to the left leave on the left.
  for (const index of new Set(far.flatMap((flow) => [flow.from, flow.to]))) {
    const ends = far.filter((flow) => flow.from === index || flow.to === index);
    const other = (flow) => (flow.from === index ? flow.to : flow.from);
    ends.sort((a, b) => other(a) - other(b) || a.lane - b.lane);
    ends.forEach((flow, port) => {
      flow[flow.from === index ? 'startAt' : 'endAt'] = (port + 1) / (ends.length + 1);
    });
  }
  return lanes.length;
}

function flowArrow(flow, boxes) {
  const [from, to] = [boxes[flow.from], boxes[flow.to]];
  const width = thickness(flow.rate);
  const label = rate(flow.rate);
  const common = { key: flow.key, width, label, class: 'between', isIdle: flow.rate === 0 };
  if (flow.lane === undefined) {
    const isRight = flow.to > flow.from;
    const y = from.top + from.height * (isRight ? 0.32 : 0.74);
    const [start, end] = isRight ? [from.right + 2, to.left - 2] : [from.left - 2, to.right + 2];
    return { ...common, points: [[start, y], [end, y]], at: [(start + end) / 2, y - width / 2 - 7] };
  }
  const [x1, x2] = [from.left + from.width * flow.startAt, to.left + to.width * flow.endAt];
  const y = from.top - 16 - flow.lane * LANE;
  return { ...common, points: [[x1, from.top - 2], [x1, y], [x2, y], [x2, to.top - 2]], at: [(x1 + x2) / 2, y - 8] };
}

// A trunk goes down from the link, with two branches for each peer: one from it and one to it. A part of the trunk is
// as thick as all that flows to and from the peers below it.
function peerArrows(column, card, box, model) {
  const x = card.left + 14;
  const shown = column.shown.filter((slot) => slot.element);
  const rates = shown.map(({ link, peer }) => ({
    in: model.peerRate(link, peer, 'messages_in'), out: model.peerRate(link, peer, 'messages_out'),
  }));
  const arrows = [];
  let above = card.bottom + 1;
  shown.forEach((slot, index) => {
    const { link, peer, element } = slot;
    const area = box(element);
    const y = area.top + area.height / 2;
    const below = rates.slice(index).reduce((total, one) => total + one.in + one.out, 0);
    const side = { isDenied: model.deniedNow(link, peer) > 0, isDropped: model.peerRate(link, peer, 'dropped') > 0 };
    const branch = (direction, points, isBad) => ({
      key: key(direction, slot.key), points, class: 'branch', width: Math.min(6, thickness(rates[index][direction])),
      isIdle: rates[index][direction] === 0 && !isBad, isBad,
    });
    arrows.push(
      { key: key('trunk', slot.key), points: [[x, above], [x, y]], class: 'trunk', width: Math.min(9, thickness(below)),
        hasNoHead: true, isIdle: below === 0 },
      branch('in', [[area.left - 1, y - 6], [x, y - 6]], side.isDenied),
      branch('out', [[x, y + 6], [area.left - 1, y + 6]], side.isDropped),
    );
    above = y;
  });
  return arrows;
}

function createArrow() {
  // The cross marks a denied or dropped flow, which is not recognized by its colour alone.
  return svg('g', {}, svg('path', { class: 'flow' }), svg('path', { class: 'head' }), svg('path', { class: 'cross' }));
}

function updateArrow(group, arrow) {
  const [line, head, cross] = group.children;
  const size = arrow.hasNoHead ? 0 : 5 + arrow.width * 0.9;
  const points = shortened(arrow.points, size);
  setAttribute(group, 'class', arrow.class);
  setAttribute(group, 'data-idle', arrow.isIdle);
  setAttribute(group, 'data-bad', arrow.isBad ?? false);
  setAttribute(line, 'd', rounded(points));
  setAttribute(line, 'stroke-width', arrow.width.toFixed(1));
  setAttribute(head, 'd', arrow.hasNoHead ? '' : headOf(points.at(-1), arrow.points.at(-1), size));
  const [[x1, y1], [x2, y2]] = arrow.points;
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  setAttribute(cross, 'd', arrow.isBad ? `M${x - 4} ${y - 4}l8 8M${x + 4} ${y - 4}l-8 8` : '');
}

// Ends the line where the head begins.
function shortened(points, size) {
  const [[x1, y1], [x2, y2]] = points.slice(-2);
  const length = Math.hypot(x2 - x1, y2 - y1) || 1;
  const part = Math.max(0, length - size) / length;
  return [...points.slice(0, -1), [x1 + (x2 - x1) * part, y1 + (y2 - y1) * part]];
}

function headOf([x1, y1], [x2, y2], size) {
  const [dx, dy] = [Math.sign(Math.round(x2 - x1)), Math.sign(Math.round(y2 - y1))];
  const half = size * 0.55;
  return `M${x2} ${y2}L${x2 - dx * size - dy * half} ${y2 - dy * size - dx * half}` +
    `L${x2 - dx * size + dy * half} ${y2 - dy * size + dx * half}Z`;
}

// A line through points at right angles, with round corners.
function rounded(points) {
  let path = `M${points[0].map(round).join(' ')}`;
  for (let index = 1; index < points.length - 1; index += 1) {
    const [before, corner, after] = points.slice(index - 1, index + 2);
    path += `L${towards(corner, before)}Q${corner.map(round).join(' ')} ${towards(corner, after)}`;
  }
  return `${path}L${points.at(-1).map(round).join(' ')}`;
}

function towards([x, y], [toX, toY]) {
  const length = Math.hypot(toX - x, toY - y) || 1;
  const part = Math.min(CORNER, length / 2) / length;
  return [x + (toX - x) * part, y + (toY - y) * part].map(round).join(' ');
}

function round(number) {
  return Math.round(number * 10) / 10;
}

function createLabel() {
  return svg('g', {}, svg('rect', { rx: 3, height: 16 }), svg('text', { 'text-anchor': 'middle', class: 'number' }));
}

function updateLabel(group, { label, at: [x, y], isIdle }) {
  const [plate, text] = group.children;
  setText(text, label);
  setAttribute(group, 'data-idle', isIdle);
  // About the width of the text: measuring it would force a layout for each label.
  const width = label.length * 6.6 + 8;
  setAttribute(plate, 'width', width);
  setAttribute(plate, 'x', round(x - width / 2));
  setAttribute(plate, 'y', round(y - 8));
  setAttribute(text, 'x', round(x));
  setAttribute(text, 'y', round(y + 3.5));
}
