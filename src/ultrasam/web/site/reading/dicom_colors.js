// Colors of DICOM pixels: RGB or YBR, judged by the data where the header may be wrong.
//
// Most pixels of an ultrasound image are gray: three equal samples in RGB, the last two 128 in YBR.

const TOLERANCE = 4;
const [UNLIKELY, CERTAIN] = [0.5, 0.8];
const LIT = 16;
const SAMPLES = 200_000;

/** Stored triples as RGB. */
export function toRgb(values, kind, notes) {
  const stated = kind === 'RGB' ? 'RGB' : 'YBR_FULL';
  const { rgb, ybr } = grayShares(values);
  const [own, other] = stated === 'RGB' ? [rgb, ybr] : [ybr, rgb];
  let found = stated;
  if (own < UNLIKELY && other > CERTAIN) {
    found = stated === 'RGB' ? 'YBR_FULL' : 'RGB';
    notes.push(`PhotometricInterpretation is ${kind}, but the pixels are ${found}; ${found} is used.`);
  }
  return found === 'RGB' ? values : fromYbr(values);
}

function grayShares(values) {
  const pixels = values.length / 3;
  const step = Math.max(1, Math.floor(pixels / SAMPLES));
  let [rgb, ybr, count] = [0, 0, 0];
  for (let i = 0; i < pixels; i += step) {
    const [a, b, c] = [values[3 * i], values[3 * i + 1], values[3 * i + 2]];
    const high = Math.max(a, b, c);
    if (high < LIT) continue;
    const asRgb = high - Math.min(a, b, c) <= TOLERANCE;
    const asYbr = Math.abs(b - 128) <= TOLERANCE && Math.abs(c - 128) <= TOLERANCE;
    if (asRgb && asYbr) continue;
    count++;
    rgb += asRgb;
    ybr += asYbr;
  }
  return count ? { rgb: rgb / count, ybr: ybr / count } : { rgb: 0, ybr: 0 };
}

/** PS3.3 C.7.6.3.1.2, full range. */
function fromYbr(values) {
  const out = new Uint8ClampedArray(values.length);
  for (let i = 0; i < values.length; i += 3) {
    const [y, b, r] = [values[i], values[i + 1] - 128, values[i + 2] - 128];
    out[i] = y + 1.402 * r;
    out[i + 1] = y - 0.344136 * b - 0.714136 * r;
    out[i + 2] = y + 1.772 * b;
  }
  return new Uint8Array(out.buffer);
}
