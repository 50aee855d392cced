/** The images and arrays of one sample as they are needed: each decoded once. */
import type { ArrayPart, SampleData } from "../data";
import type { Explorer } from "../explorer";
import { type Blocks, effectScale, errorScale as effectErrorScale, groundPixels, inPixels, triedPixels, verdictPixels } from "./blocks";
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
  /** Of causal effects: what is known of each block; `plane` has the values at each pixel of the sample. */
  blocks?: Blocks;
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

  /** What is known of the blocks of one plane of causal effects. */
  private async blocks(key: string, index: number, side: number): Promise<Blocks> {
    const part = this.part(key);
    if (!part || !("beside" in part)) throw new Error(`${key} has no standard errors beside its effects`);
    const [effect, error, draws, decided] = await Promise.all([this.stack(key), decoded(part.beside.error), decoded(part.beside.draws), decoded(part.beside.decided)]);
    return { side, effect: effect.plane(index), error: error.plane(index), draws: draws.plane(index), decided: decided.plane(index) };
  }

  private async effects(panel: Panel, index: number, { side, end }: { side: number; end: number }): Promise<Picture> {
    const [blocks, stack] = await Promise.all([this.blocks(panel.key, index, side), this.stack(panel.key)]);
    const place = stack.places[index] ?? [];
    const spread = (plane: Plane): Plane => inPixels(plane, side, this.sample);
    const draws = spread(blocks.draws);
    const input = "input" in this.sample.images ? await this.stack("input") : null;
    const ground = groundPixels(input && sameFrame(input, place) ? input.plane(0) : null, draws);
    const sure = panel.role === "uncertainty";
    const plane = spread(sure ? blocks.error : blocks.effect);
    const scale = sure ? effectErrorScale(blocks.error) : effectScale(end);
    const over = panel.role === "verdicts" ? verdictPixels(spread(blocks.decided), draws) : triedPixels(plane, scale, draws);
    return { panel, plane, layers: [ground, over], scale, place, total: stack.total, blocks };
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
    if (panel.blocks) return this.effects(panel, panel.plane, panel.blocks);
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
