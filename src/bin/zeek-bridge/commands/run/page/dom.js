// Creates elements, and updates lists of elements without replacing those that remain, so that focus, scroll positions
// and open tooltips survive an update. Stores choices in the browser.

import { setAttribute, visible } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  for (const child of children) {
    if (child === null || child === undefined) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

/** Creates an HTML element. A child that is not a node becomes text. `onNAME` attributes are event listeners. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Creates an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Creates an element for text from a peer. Its writing direction cannot change the text around it. */
export function isolated(attributes = {}) {
  return el('bdi', { ...attributes, class: `isolated ${attributes.class ?? ''}` });
}

/** Creates a button that never submits a form. */
export function button(attributes, ...children) {
  return el('button', { type: 'button', ...attributes }, ...children);
}

/** Creates a button for text from a peer that calls `onSelect` with what its property `selection` has at that time. */
export function selector(onSelect, attributes) {
  const select = (event) => onSelect(event.currentTarget.selection, event);
  return button({ ...attributes, onclick: select }, isolated());
}

/**
 * Makes the children of `parent` those of `items`, in order. `keyOf(item)` identifies an item between updates,
 * `create(item)` returns a new element, and `update(element, item)` is called for all of them.
 */
export function reconcile(parent, items, keyOf, create, update) {
  const old = parent.keyedChildren ?? new Map();
  const kept = new Map();
  let position = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    // Two items with one key would share an element.
    if (kept.has(key)) continue;
    const element = old.get(key) ?? create(item);
    old.delete(key);
    kept.set(key, element);
    if (element === position) position = position.nextSibling;
    else parent.insertBefore(element, position);
    update(element, item);
  }
  for (const element of old.values()) element.remove();
  parent.keyedChildren = kept;
}

// The choices of this page, if the browser does not store any. Reading or changing localStorage then throws an error.
const choices = new Map();

/** Returns a stored choice, or null. */
export function choice(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return choices.get(name) ?? null;
  }
}

/** Stores a choice, if the browser permits it. Otherwise it is lost with the page. */
export function storeChoice(name, value) {
  choices.set(name, String(value));
  try {
    localStorage.setItem(name, value);
  } catch {
    // It remains in `choices`.
  }
}
