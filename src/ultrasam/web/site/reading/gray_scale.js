// Which values are shown as black and white, as ultrasam.images.pixels.GrayScale; one scale serves all frames.

const FEW = 0.001; // up to this fraction of the pixels, on either side, are outliers
const OVERSHOOT = 1.05;
const SAMPLES = 1_000_000;

/**
 * The scale {black, white} of frames of whole numbers, typed arrays of one kind.
 *
 * `bits` is how many a pixel has, if the file states it. Throws an Error if there are no pixels.
 */
export function grayScale(frames, bits = null) {
  const total = frames.reduce((sum, frame) => sum + frame.length, 0);
  if (!total) throw new Error('The image has no pixels.');
  if (frames[0] instanceof Uint8Array && (bits === null || bits >= 8)) return { black: 0, white: 255 };
  const each = Math.max(1, Math.floor(SAMPLES / frames.length));
  const values = Float64Array.from(frames.flatMap((frame) => sample(frame, each))).sort();
  const [low, high] = [quantile(values, FEW), quantile(values, 1 - FEW)];
  if (low < 0 && -low > (OVERSHOOT - 1) * high) {
    return high > low ? { black: low, white: high } : { black: low, white: low + 1 };
  }
  const widths = bits !== null && bits < 16 ? [bits] : [];
  const width = [...widths, 8, 10, 12, 14, 16].find((n) => high < 2 ** n);
  return { black: 0, white: width ? 2 ** width - 1 : high };
}

function sample(frame, count) {
  const step = Math.max(1, Math.floor(frame.length / count));
  const out = [];
  for (let i = 0; i < frame.length; i += step) out.push(frame[i]);
  return out;
}

/** The smallest value with at least this fraction of the sorted values at or below it. */
function quantile(sorted, fraction) {
  return sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)];
}

/** Values as gray levels 0–255. */
export function applyScale(values, { black, white }) {
  if (values instanceof Uint8Array && black === 0 && white === 255) return values;
  const factor = 255 / (white - black);
  return Uint8Array.from(values, (v) => Math.min(Math.max((v - black) * factor + 0.5, 0), 255));
}
