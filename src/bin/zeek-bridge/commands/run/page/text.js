// Text that is safe to show. Everything that a peer has sent goes through `visible`, and reaches the page only as text,
// never as markup.

// Characters that are invisible, change the direction of text, or look like a space: control and format characters,
// unassigned and private characters, separators other than the space, and characters that fonts may ignore.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/gu;

// A pile of combining marks covers the lines above and below it.
const MARKS_AFTER_FOUR = /(?<=\p{M}{4})\p{M}/gu;

// The longest text on the page. A peer's address, filter or name can be longer.
const LONGEST = 2000;

function escape(character) {
  return `\\u{${character.codePointAt(0).toString(16)}}`;
}

/** Returns the text with hidden characters as `\u{..}`, at most 2000 characters long. */
export function visible(text) {
  let shown = String(text ?? '');
  if (shown.length > LONGEST) shown = `${shown.slice(0, LONGEST)}…`;
  // A backslash is doubled, so that a peer cannot send text that looks like an escape.
  return shown.replaceAll('\\', '\\\\').replace(HIDDEN, escape).replace(MARKS_AFTER_FOUR, escape);
}

/** Sets the text of an element, if it has changed. */
export function setText(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

// The attributes that contain text for people.
const TEXTS = new Set(['title', 'aria-label', 'aria-valuetext', 'placeholder']);

/**
 * Sets or removes an attribute, if it has changed. The values null and false remove it. A list becomes lines. Only text
 * for people may come from a peer.
 */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    element.removeAttribute(name);
    return;
  }
  const lines = Array.isArray(value) ? value : [value];
  const shown = TEXTS.has(name) ? lines.map(visible).join('\n') : value === true ? '' : String(value);
  if (element.getAttribute(name) !== shown) element.setAttribute(name, shown);
}

/** Sets the text of an element that may be cut off, with the complete text as its tooltip. */
export function setLongText(element, text) {
  setText(element, text);
  setAttribute(element, 'title', text);
}
