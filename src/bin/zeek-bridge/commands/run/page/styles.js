// Colours of series and widths of arrows.

// Names keep their colour as long as the page is open. A link has the same colour in all plots and in the picture.
const styles = new Map();

/** Returns the number of the colour of a link, a reason or a rule. */
export function styleOf(kind, name) {
  const of = styles.get(kind) ?? styles.set(kind, new Map()).get(kind);
  if (!of.has(name)) of.set(name, of.size);
  return of.get(name);
}

/**
 * Returns the class of a series: one of eight colours, and beyond them a pattern of dashes. The sum of several series has
 * no number.
 */
export function seriesClass(style) {
  if (style === null) return 'sum';
  return `s${style % 8} dash${Math.floor(style / 8) % 3}`;
}

/** Returns the width of an arrow in pixels: 1 if nothing flows, and about 2 more for each factor of ten. */
export function thickness(perSecond) {
  return perSecond > 0 ? Math.min(12, 1.5 + 1.8 * Math.log10(1 + perSecond)) : 1;
}
