// The distance between pixels in a DICOM header, as ultrasam.images.dicom_geometry; what is malformed is unknown.

const REGIONS = 0x00186011;
const REGION = { format: 0x00186012, unitsX: 0x00186024, unitsY: 0x00186026, deltaX: 0x0018602c, deltaY: 0x0018602e };
const ELEMENTS = [0x00280030, 0x00181164, 0x00182010]; // pixel spacing and its kin
const [CENTIMETERS, TISSUE] = [3, 1];
const [LEAST, MOST] = [1e-4, 100]; // mm between pixels
const SAME = 0.01;

/** [row, column] distance between pixel centers in mm, or null if unknown. */
export function readSpacing(header, notes) {
  const regions = header.items(REGIONS).map(ofRegion).filter(Boolean);
  const groups = ofGroups(header);
  const elements = ELEMENTS.map((tag) => ofElement(header, tag)).filter(Boolean);
  const [found = null] = [...regions, ...(groups ? [groups] : []), ...elements];
  if (found && regions.some((other) => !equal(other, found))) {
    notes.push('The ultrasound regions differ in spacing; that of the first is used.');
  }
  return found;
}

function ofRegion(region) {
  const value = (tag, kind) => region.number(tag, kind);
  if (value(REGION.format, 'US') !== TISSUE || value(REGION.unitsX, 'US') !== CENTIMETERS ||
      value(REGION.unitsY, 'US') !== CENTIMETERS) return null;
  const [row, column] = [value(REGION.deltaY, 'FD'), value(REGION.deltaX, 'FD')];
  return row === null || column === null ? null : plausible(Math.abs(row) * 10, Math.abs(column) * 10);
}

/** From the pixel measures of an enhanced image, if all frames have the same. */
function ofGroups(header) {
  const measures = (group) => group.items(0x00289110)[0];
  const shared = header.items(0x52009229).map(measures).filter(Boolean);
  const own = header.items(0x52009230).map(measures).filter(Boolean);
  const pairs = (own.length ? own : shared).map((item) => ofElement(item, ELEMENTS[0]));
  return pairs.length && pairs.every((pair) => pair && equal(pair, pairs[0])) ? pairs[0] : null;
}

function ofElement(header, tag) {
  const pair = header.numbers(tag);
  return pair.length === 2 ? plausible(...pair) : null;
}

function plausible(row, column) {
  const fits = (value) => value >= LEAST && value <= MOST;
  return fits(row) && fits(column) ? [row, column] : null;
}

function equal(a, b) {
  return a.every((value, i) => Math.abs(value - b[i]) <= SAME * b[i]);
}
