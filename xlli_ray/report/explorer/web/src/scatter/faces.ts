/** Thumbnails as images for a canvas. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { useExplorer } from "../explorer";
import { thumbnails } from "../parts";

/** Side of a thumbnail in place of a point, pixels. */
export const FACE = 34;
/** With more points than this they would hide each other. */
export const MOST_FACES = 400;

type Face = (row: number) => { image: HTMLImageElement; x: number; y: number; from: number } | null;

/** Where the thumbnail of a row is: null until its sheet is there, and for samples without. `rows`: null for none. */
export function useFaces(rows: Uint32Array | null): Face {
  const { study, parts } = useExplorer();
  const [sheets, set] = useState<ReadonlyMap<number, { image: HTMLImageElement; across: number }>>(new Map());
  useEffect(() => {
    if (!rows) return undefined;
    let current = true;
    const wanted = new Set(
      Array.from(rows)
        .filter((row) => row < study.thumbnails)
        .map((row) => Math.floor(row / study.thumbnailRows)),
    );
    for (const part of wanted) {
      void thumbnails(parts, part).then(
        (sheet) => {
          const image = new Image();
          image.onload = () => current && set((before) => new Map(before).set(part, { image, across: sheet.across }));
          image.src = sheet.uri;
        },
        () => undefined, // the point stays a square of its colour
      );
    }
    return () => void (current = false);
  }, [rows]);
  return useCallback(
    (row) => {
      const part = Math.floor(row / study.thumbnailRows);
      const sheet = sheets.get(part);
      if (!sheet || row >= study.thumbnails) return null;
      const place = row - part * study.thumbnailRows;
      return {
        image: sheet.image,
        x: (place % sheet.across) * study.thumbnailSide,
        y: Math.floor(place / sheet.across) * study.thumbnailSide,
        from: study.thumbnailSide,
      };
    },
    [sheets, study],
  );
}
