// Okabe and Ito's colors, which are told apart with color blindness too; a new object takes the next.

export const COLORS = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#ffffff'];

export function colorOf(number) {
  return COLORS[number % COLORS.length];
}

export function channelsOf(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}
