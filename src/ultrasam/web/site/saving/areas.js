// Areas of masks: mm² where the distance between pixels is known, else pixels.

import { countAbove } from '../segmentation/masks.js';

const known = new WeakMap(); // masks do not change, and the panels ask for all areas after each click

/** The number of a mask's pixels. */
export function maskArea(mask) {
  if (!known.has(mask)) known.set(mask, countAbove(mask, 0));
  return known.get(mask);
}

/** {value, unit, why}: `why` says why there are no millimeters, or is null. */
export function areaOf(mask, spacing) {
  const pixels = maskArea(mask);
  if (!spacing) return { value: pixels, unit: 'px', why: 'The file does not say how large a pixel is.' };
  return { value: pixels * spacing[0] * spacing[1], unit: 'mm²', why: null };
}

export function areaText({ value, unit }) {
  const digits = unit === 'px' || value >= 1000 ? 0 : value >= 100 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}

/** Areas of pictures, as in coco.js with spacing, as a table of comma-separated values. */
export function areasTable(pictures) {
  const rows = [['image', 'frame', 'object', 'label', 'area', 'unit', 'pixels', 'row_spacing_mm', 'column_spacing_mm', 'predicted_iou']];
  for (const { name, frame, spacing, objects } of pictures) {
    objects.forEach(({ label, mask, iou }, i) => {
      const { value, unit } = areaOf(mask, spacing);
      rows.push([name, frame, i + 1, label, Number(value.toPrecision(8)), unit === 'px' ? 'px' : 'mm2', maskArea(mask),
        spacing?.[0] ?? '', spacing?.[1] ?? '', iou.toFixed(4)]);
    });
  }
  return rows.map((row) => row.map(quoted).join(',')).join('\r\n') + '\r\n';
}

/** A value as in RFC 4180; text that a spreadsheet would take for a formula gets an apostrophe. */
function quoted(value) {
  let text = String(value);
  if (typeof value === 'string' && /^[=+\-@\t]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
