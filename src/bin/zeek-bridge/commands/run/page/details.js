// The panel with the details of a link, a peer, a node or a rule.

import { button, el, isolated, reconcile, selector } from './dom.js';
import { sectionsOf } from './facts.js';
import { key } from './model.js';
import { setAttribute, setLongText, setText } from './text.js';

// The remarks about a selection that is not in the status any more.
const LEFT = 'disconnected';
const OMITTED = 'left out of the status';
const REMOVED = 'removed';

export class Details {
  #opener = null;
  #onChange;
  #model = null;
  // The selected peer, and the time of the last status with it.
  #known = null;

  /** `onChange(selection)` is called when the panel shows something else, or nothing. */
  constructor(root, onChange) {
    this.#onChange = onChange;
    this.root = root;
    this.selection = null;
    this.kind = el('span', { class: 'tag' });
    this.title = isolated({ class: 'title' });
    this.heading = el('h2', { id: 'details-title', tabindex: '-1' }, this.kind, this.title);
    this.close = button({
      class: 'close', 'aria-label': 'close the details', title: 'close (Escape)', onclick: () => this.hide(),
    }, '✕');
    this.body = el('div', { class: 'details-body' });
    root.append(el('header', {}, this.heading, this.close), this.body);
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.selection && !event.defaultPrevented) this.hide();
    });
  }

  /** Opens the panel. Escape returns the focus to the element that was activated. */
  show(selection, event) {
    // A link inside the panel keeps the first opener.
    const opener = event?.currentTarget;
    if (opener && !this.root.contains(opener)) this.#opener = opener;
    this.selection = selection;
    this.#known = null;
    setAttribute(this.root, 'data-gone', null);
    this.body.scrollTop = 0;
    this.body.keyedChildren = undefined;
    this.body.replaceChildren();
    this.root.hidden = false;
    this.#onChange(selection);
    this.update(this.#model);
    this.heading.focus({ preventScroll: true });
  }

  hide() {
    const hadFocus = this.root.contains(document.activeElement);
    this.selection = null;
    this.root.hidden = true;
    this.#onChange(null);
    // The opener is gone if its peer has left.
    const target = this.#opener?.isConnected ? this.#opener : document.querySelector('#picture button');
    if (hadFocus || document.activeElement === document.body) target?.focus({ preventScroll: true });
    this.#opener = null;
  }

  update(model) {
    this.#model = model;
    if (!this.selection || !model?.status) return;
    const facts = sectionsOf(model, this.selection);
    // The last known facts of a peer that left stay, with a remark.
    const remark = facts === null ? this.#remark(model) : null;
    setAttribute(this.root, 'data-gone', remark);
    if (facts === null && this.body.firstChild) return;
    if (facts?.peer) this.#known = { peer: facts.peer, seen: model.time };
    const { title, sections } = facts ?? { title: '', sections: [{ title: remark, text: 'Nothing is known about it.' }] };
    setText(this.kind, this.selection.kind);
    setLongText(this.title, title);
    reconcile(this.body, sections, (section) => section.title.split(':')[0], (section) => this.#create(section),
      (element, section) => this.#fill(element, section));
  }

  #remark(model) {
    const { kind, link: name } = this.selection;
    if (kind === 'rule' || kind === 'link') return REMOVED;
    const link = model.link(name);
    // The entry about a disconnect is not kept for ever.
    if (kind === 'node' || !link || this.root.dataset.gone === LEFT) return LEFT;
    const hasLeft = this.#known
      ? model.hasLeft(link, this.#known.peer, this.#known.seen) : model.omitted(name) === 0;
    return hasLeft ? LEFT : OMITTED;
  }

  #create(section) {
    const content = section.rows ? el('dl') : section.entries ? el('ul', { class: 'entries' })
      : section.links ? el('ul', { class: 'chips' }) : section.items ? el('ul', { class: 'items mono' }) : isolated();
    return el('section', {}, el('h3'), content);
  }

  #fill(element, section) {
    // A title may end with a count.
    setText(element.firstChild, section.title);
    const content = element.lastChild;
    if (section.rows) this.#fillRows(content, section.rows);
    else if (section.entries) fillEntries(content, section.entries);
    else if (section.links) this.#fillLinks(content, section.links);
    else if (section.items) {
      // A peer may send a topic with the text of `more`.
      const items = section.items.map((text, index) => ({ text, key: key(index, text) }));
      if (section.more) items.push({ text: section.more, key: 'more', isMore: true });
      reconcile(content, items, (item) => item.key, () => el('li', {}, isolated()), (element, { text, isMore }) => {
        setText(element.firstChild, text);
        setAttribute(element, 'class', isMore ? 'note' : null);
      });
    } else setText(content, section.text);
  }

  #fillRows(list, rows) {
    const create = () => el('div', {}, el('dt'), el('dd', {}, isolated()));
    const update = (row, [label, value, mark]) => {
      setText(row.firstChild, label);
      setText(row.lastChild.firstChild, value);
      setAttribute(row, 'data-mark', mark);
    };
    reconcile(list, rows, ([label]) => label, create, update);
  }

  #fillLinks(list, links) {
    const select = (selection, event) => this.show(selection, event);
    const create = () => el('li', {}, selector(select, { class: 'node' }));
    const update = (item, { name, selection }) => {
      item.firstChild.selection = selection;
      setLongText(item.firstChild.firstChild, name);
    };
    reconcile(list, links, ({ name, selection }) => `${selection.kind}${selection.key ?? name}`, create, update);
  }
}

function fillEntries(list, entries) {
  const create = () => el('li', {}, el('span', { class: 'number' }), isolated({ class: 'mono' }), isolated());
  const update = (item, { time, what, text }) => {
    setText(item.children[0], time);
    setText(item.children[1], what);
    item.children[1].hidden = what === '';
    setText(item.children[2], text);
  };
  reconcile(list, entries, (entry) => entry.key, create, update);
}
