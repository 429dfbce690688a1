// Rounding as Python and OpenCV do it.

/** The nearest whole number; of two that are equally near, the even one. */
export function roundHalfEven(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

export function clip(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
