/** Markers as paths around (0, 0), of `xlli_ray/plots/checks.py`; and line styles. */

const star = (spikes: number, inner: number, turn = 0): [number, number][] =>
  Array.from({ length: 2 * spikes }, (_, i) => {
    const radius = i % 2 ? inner : 1.25;
    const angle = (Math.PI * i) / spikes - Math.PI / 2 + turn;
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
const plus = (turn: number): [number, number][] => {
  const [a, b] = [0.38, 1.1];
  const points: [number, number][] = [
    [-a, -b],
    [a, -b],
    [a, -a],
    [b, -a],
    [b, a],
    [a, a],
    [a, b],
    [-a, b],
    [-a, a],
    [-b, a],
    [-b, -a],
    [-a, -a],
  ];
  return points.map(([x, y]) => [x * Math.cos(turn) - y * Math.sin(turn), x * Math.sin(turn) + y * Math.cos(turn)]);
};
const SHAPES: Record<string, [number, number][]> = {
  s: [
    [-0.9, -0.9],
    [0.9, -0.9],
    [0.9, 0.9],
    [-0.9, 0.9],
  ],
  "^": [
    [0, -1.15],
    [1.1, 0.85],
    [-1.1, 0.85],
  ],
  v: [
    [0, 1.15],
    [1.1, -0.85],
    [-1.1, -0.85],
  ],
  D: [
    [0, -1.2],
    [1.2, 0],
    [0, 1.2],
    [-1.2, 0],
  ],
  P: plus(0),
  X: plus(Math.PI / 4),
  x: plus(Math.PI / 4),
  "*": star(5, 0.5),
};
/** In the order in which networks get them. */
export const MARKS = "os^DvPX*";

export function markPath(mark: string, radius: number): string {
  const shape = SHAPES[mark];
  if (shape) return `M${shape.map(([x, y]) => `${round(x * radius)},${round(y * radius)}`).join("L")}Z`;
  const r = round(mark === "." ? radius * 0.55 : radius);
  return `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`;
}

const round = (value: number): number => Math.round(value * 100) / 100;

const DASHES: Record<string, string> = { "--": "5 3", "-.": "6 2.5 1.5 2.5", ":": "1.5 2.5" };
export const dashes = (line: string): string | undefined => DASHES[line];
