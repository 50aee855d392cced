/** Points in the cells of a grid, so that the one under the pointer is found among 100,000 at once. In pixels. */

export interface GridIndex {
  /** The nearest point, no further than `reach`; −1 for none. */
  nearest(x: number, y: number, reach: number): number;
}

const CELL = 16;

export function gridIndex(x: Float32Array, y: Float32Array, width: number, height: number): GridIndex {
  const across = Math.max(1, Math.ceil(width / CELL));
  const down = Math.max(1, Math.ceil(height / CELL));
  const cellOf = (i: number): number => {
    const [column, line] = [Math.floor((x[i] as number) / CELL), Math.floor((y[i] as number) / CELL)];
    return column >= 0 && column < across && line >= 0 && line < down ? line * across + column : -1;
  };
  // counting sort: `starts[cell]` … `starts[cell + 1]` are its points in `points`
  const starts = new Uint32Array(across * down + 1);
  for (let i = 0; i < x.length; i++) {
    const cell = cellOf(i);
    if (cell >= 0) starts[cell + 1]!++;
  }
  for (let cell = 0; cell < across * down; cell++) starts[cell + 1]! += starts[cell]!;
  const next = starts.slice();
  const points = new Uint32Array(starts[across * down] as number);
  for (let i = 0; i < x.length; i++) {
    const cell = cellOf(i);
    if (cell >= 0) points[next[cell]!++] = i;
  }
  const nearest = (px: number, py: number, reach: number): number => {
    let [best, least] = [-1, reach * reach];
    const [left, right] = [Math.max(0, Math.floor((px - reach) / CELL)), Math.min(across - 1, Math.floor((px + reach) / CELL))];
    const [top, bottom] = [Math.max(0, Math.floor((py - reach) / CELL)), Math.min(down - 1, Math.floor((py + reach) / CELL))];
    for (let line = top; line <= bottom; line++) {
      for (let column = left; column <= right; column++) {
        const cell = line * across + column;
        for (let k = starts[cell]!; k < starts[cell + 1]!; k++) {
          const i = points[k] as number;
          const far = ((x[i] as number) - px) ** 2 + ((y[i] as number) - py) ** 2;
          if (far < least || (far === least && best < 0)) [best, least] = [i, far];
        }
      }
    }
    return best;
  };
  return { nearest };
}
