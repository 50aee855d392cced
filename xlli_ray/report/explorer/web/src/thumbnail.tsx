/** A sample's thumbnail: a piece of a sheet. */
import { useExplorer, useLoaded } from "./explorer";
import { thumbnails } from "./parts";

export function Thumbnail({ row, size }: { row: number; size?: number }) {
  const { parts, study } = useExplorer();
  const there = row < study.thumbnails;
  const part = Math.floor(row / study.thumbnailRows);
  const { value } = useLoaded(there ? `t${part}` : "none", () => (there ? thumbnails(parts, part) : Promise.resolve(null)));
  const side = size ?? study.thumbnailSide;
  if (!value) return <span class="xe-thumb" style={{ width: `${side}px`, height: `${side}px` }} />;
  const place = row - part * study.thumbnailRows;
  const x = (place % value.across) * side;
  const y = Math.floor(place / value.across) * side;
  const across = Math.min(value.across, study.thumbnails - part * study.thumbnailRows);
  return (
    <span
      class="xe-thumb"
      style={{
        width: `${side}px`, height: `${side}px`, backgroundImage: `url("${value.uri}")`, backgroundPosition: `-${x}px -${y}px`, backgroundSize: `${across * side}px auto`,
      }}
    />
  );
}
