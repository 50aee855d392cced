/** Reads the PNG files of the parts: 8 bits, grey or RGB, not interlaced, as `encoding.py` writes them.
 *
 * Not by a canvas, which may give other levels than those in the file: with a colour profile of the screen, or where a browser adds noise to
 * what is read back. */

export interface Levels {
  height: number;
  width: number;
  channels: 1 | 3;
  /** (height, width, channels). */
  levels: Uint8Array;
}

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

export async function decodePng(file: Uint8Array<ArrayBuffer>): Promise<Levels> {
  if (SIGNATURE.some((byte, i) => file[i] !== byte)) throw new Error("not a PNG file");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  const [depth, colour, , , interlaced] = file.subarray(24, 29);
  if (depth !== 8 || (colour !== 0 && colour !== 2) || interlaced) throw new Error("expected a PNG file with 8 bits, grey or RGB");
  const channels = colour === 2 ? 3 : 1;
  const compressed: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 8; at + 12 <= file.length; ) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === 0x49444154) compressed.push(file.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const stream = new Blob(compressed).stream().pipeThrough(new DecompressionStream("deflate"));
  const lines = new Uint8Array(await new Response(stream).arrayBuffer());
  if (lines.length !== height * (width * channels + 1)) throw new Error("a PNG file is shorter than its size says");
  return { height, width, channels, levels: unfiltered(lines, height, width * channels, channels) };
}

/** Each line begins with its filter (PNG specification, section 9): the levels are what is stored plus a prediction from left and above. */
function unfiltered(lines: Uint8Array, height: number, length: number, step: number): Uint8Array {
  const out = new Uint8Array(height * length);
  let before = new Uint8Array(length);
  for (let y = 0; y < height; y++) {
    const filter = lines[y * (length + 1)];
    const line = out.subarray(y * length, (y + 1) * length);
    line.set(lines.subarray(y * (length + 1) + 1, (y + 1) * (length + 1)));
    if (filter === 1) for (let i = step; i < length; i++) line[i]! += line[i - step]!;
    else if (filter === 2) for (let i = 0; i < length; i++) line[i]! += before[i]!;
    else if (filter === 3) for (let i = 0; i < length; i++) line[i]! += ((i < step ? 0 : line[i - step]!) + before[i]!) >> 1;
    else if (filter === 4) for (let i = 0; i < length; i++) line[i]! += i < step ? before[i]! : paeth(line[i - step]!, before[i]!, before[i - step]!);
    before = line;
  }
  return out;
}

/** Whichever of the three is nearest to left + above − corner. */
function paeth(left: number, above: number, corner: number): number {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}
