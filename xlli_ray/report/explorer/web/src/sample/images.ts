/** The images and arrays of one sample as they are needed: each decoded once. */
import type { ArrayPart, SampleData } from "../data";
import type { Explorer } from "../explorer";
import { AREA, errorScale, numberScale, type Scale, SHARE, signedScale } from "./colour_maps";
import { faintPixels, imagePixels, type Pixels, scaledPixels } from "./paint";
import { decoded, errorOf, type Plane, type Stack } from "./planes";
import { isArea, type Panel } from "./panels";

/** What a panel shows. */
export interface Picture {
  panel: Panel;
  plane: Plane;
  /** From below; the last one of a map is as opaque as the reader likes. */
  layers: Pixels[];
  /** null: an image in its own colours. */
  scale: Scale | null;
  /** Place of the plane on the array's leading axes, and how many planes the array has. */
  place: readonly number[];
  total: number;
}

export class SampleImages {
  private readonly stacks = new Map<string, Promise<Stack>>();
  private readonly whole = new Map<string, ArrayPart>();
  private readonly errors = new Map<string, Promise<Plane>>();

  constructor(
    readonly sample: SampleData,
    private readonly explorer: Explorer,
  ) {}

  private part(key: string): ArrayPart | undefined {
    return this.whole.get(key) ?? this.sample.images[key];
  }

  places(key: string): readonly (readonly number[])[] {
    return this.part(key)?.places ?? [];
  }

  total(key: string): number {
    return this.part(key)?.total ?? 0;
  }

  /** Whether there are more planes, and a server that has them. */
  more(key: string): boolean {
    return this.explorer.parts.served && !this.whole.has(key) && this.total(key) > this.places(key).length && this.explorer.study.arrays.some((one) => one.key === key && one.model !== "");
  }

  async loadAll(key: string): Promise<void> {
    const index = this.explorer.study.arrays.findIndex((one) => one.key === key);
    this.whole.set(key, (await this.explorer.parts.load(`array-${this.sample.row}-${index}`)) as ArrayPart);
    this.stacks.delete(key);
  }

  stack(key: string): Promise<Stack> {
    let found = this.stacks.get(key);
    if (!found) {
      const part = this.part(key);
      found = part ? decoded(part) : Promise.reject(new Error(`${key} is not among what is held of this sample`));
      this.stacks.set(key, found);
    }
    return found;
  }

  /** Size of the finest array, for the limit of zoom. */
  get finest(): number {
    return Math.max(this.sample.width, ...Object.values(this.sample.images).map((one) => one.width));
  }

  private error(key: string): Promise<Plane> {
    let found = this.errors.get(key);
    if (!found) {
      found = Promise.all([this.stack(key), this.stack("target")]).then(([output, target]) => {
        const frame = (stack: Stack): string => String(stack.places[0] ?? "");
        if (output.total > 1 && target.total > 1 && frame(output) !== frame(target)) throw new Error(`output is frame ${frame(output)}, target ${frame(target)}`);
        const made = errorOf(output.plane(0), target.plane(0));
        if (!made) throw new Error("output and target differ in size");
        return made;
      });
      this.errors.set(key, found);
    }
    return found;
  }

  /** `shown`: keys of the outputs whose errors have one scale. */
  async picture(panel: Panel, shown: readonly string[]): Promise<Picture> {
    if (panel.role === "error") {
      const plane = await this.error(panel.key);
      const others = await Promise.allSettled(shown.map((key) => this.error(key)));
      const scale = errorScale([plane, ...others.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []))]);
      return { panel, plane, layers: [scaledPixels(plane, scale)], scale, place: [], total: 1 };
    }
    if (panel.plane === null) throw new Error(panel.role === "features" ? "this plane is not among those that are held" : "there is no map of this window");
    const stack = await this.stack(panel.key);
    const plane = stack.plane(panel.plane);
    const about = { panel, plane, place: stack.places[panel.plane] ?? [], total: stack.total };
    if (panel.role === "image") return { ...about, layers: [imagePixels(plane)], scale: null };
    if (panel.role === "map") {
      const input = "input" in this.sample.images ? await this.stack("input") : null;
      const below = input && sameFrame(input, about.place) ? [faintPixels(input.plane(0))] : [];
      const scale = isArea(panel) ? AREA : SHARE;
      return { ...about, layers: [...below, scaledPixels(plane, scale, true)], scale };
    }
    const scale = panel.role === "signed" ? signedScale(plane) : numberScale(plane);
    return { ...about, layers: [scaledPixels(plane, scale)], scale };
  }
}

/** Whether a map with the place (window) or (window, frame) lies over this input: of a clip there is but one frame. */
const sameFrame = (input: Stack, place: readonly number[]): boolean => place.length < 2 || input.total === 1 || input.places[0]?.[0] === place[1];
