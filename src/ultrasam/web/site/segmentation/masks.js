// Masks of logits. Plain loops: a callback for each of a picture's pixels would take longer than the network.

/** Where logits are positive: a Uint8Array of 0 and 1. */
export function maskOf(logits) {
  const out = new Uint8Array(logits.length);
  for (let i = 0; i < out.length; i++) out[i] = logits[i] > 0 ? 1 : 0;
  return out;
}

/** How many values are above a level. */
export function countAbove(values, level) {
  let count = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > level) count++;
  return count;
}

/** Whether any logit is positive. */
export function hasMask(logits) {
  for (let i = 0; i < logits.length; i++) if (logits[i] > 0) return true;
  return false;
}
