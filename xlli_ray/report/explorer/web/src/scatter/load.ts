/** The points that were asked for, with their colours, from the parts of the study. */
import { clouds } from "../charts/embedding";
import { MARKS } from "../charts/marks";
import type { EmbeddingView } from "../charts/views";
import type { Explorer } from "../explorer";
import { chosen } from "../figure_names";
import { figure } from "../parts";
import { measured } from "../rows";
import { type Asked, GROUP, measureText, NETWORK } from "./asked";
import { byNumbers, byWords, cloudPoints, type Colouring, plain, type Points, pointsOf } from "./points";

export interface Loaded {
  points: Points;
  colouring: Colouring;
  xlabel: string;
  ylabel: string;
  /** Title of the colours. */
  by: string;
  /** Networks of `points.part`; empty where points have none. */
  models: string[];
  /** The clouds of the embedding, and whether both axes have one scale. */
  clouds: string[];
  square: boolean;
}

export async function load(explorer: Explorer, asked: Asked): Promise<Loaded> {
  return asked.cloud ? ofCloud(explorer, asked, asked.cloud) : ofMeasures(explorer, asked);
}

async function ofCloud(explorer: Explorer, asked: Asked, wanted: { figure: string; index: number }): Promise<Loaded> {
  const { study, parts } = explorer;
  const index = chosen(study.figures, wanted.figure);
  const view = (await figure(parts, index)) as unknown as EmbeddingView & { kind: string };
  if (view.kind !== "embedding") throw new Error(`the figure ${wanted.figure} is no embedding`);
  const all = clouds(view);
  const place = all[wanted.index] ?? all[0];
  if (!place) throw new Error(`the figure ${wanted.figure} has no points`);
  const points = cloudPoints(place.cloud);
  const groups = new Map(view.groups.map((group) => [group.name, group.colour]));
  const colouring =
    asked.colour === GROUP
      ? byWords(
          [...groups.keys()],
          Array.from(points.part, (part) => part + 1),
          groups,
        )
      : await colours(explorer, asked, points, []);
  return {
    points,
    colouring,
    xlabel: "",
    ylabel: "",
    by: asked.colour === GROUP ? "degradation" : title(explorer, asked.colour),
    models: [],
    clouds: all.map((one) => one.title),
    square: place.cloud.square,
  };
}

async function ofMeasures(explorer: Explorer, asked: Asked): Promise<Loaded> {
  const { study } = explorer;
  const network = asked.colour === NETWORK;
  const sides = await Promise.all(
    [asked.x, asked.y].map(async (measure) => ({
      measure,
      about: explorer.about(measure.column),
      values: await explorer.values(measure.column),
    })),
  );
  const models = network
    ? study.models.map((one) => one.id).filter((id) => sides.every(({ about }) => !about?.models.length || about.models.includes(id)))
    : [""];
  const pairs = models.map((model) =>
    sides.map(({ measure, about, values }) =>
      measured(values, about?.models ?? [], study.rows, network ? { column: measure.column, model, minus: "" } : measure),
    ),
  );
  const points = pointsOf(pairs as unknown as [Float32Array, Float32Array][]);
  const colouring = network ? byNetwork(explorer, models, points) : await colours(explorer, asked, points, [asked.x.model]);
  return {
    points,
    colouring,
    models: network ? models : [],
    xlabel: measureText(study, asked.x, network),
    ylabel: measureText(study, asked.y, network),
    by: network ? "network" : title(explorer, asked.colour),
    clouds: [],
    square: false,
  };
}

function byNetwork(explorer: Explorer, models: string[], points: Points): Colouring {
  const all = explorer.study.models;
  // colour and marker of a network, as in the figures
  const looks = models.map((id) => ({
    colour: all.find((one) => one.id === id)?.colour ?? "#5b6370",
    mark: MARKS[all.findIndex((one) => one.id === id) % MARKS.length] as string,
  }));
  return { names: models, looks, code: points.part };
}

const title = (explorer: Explorer, id: string): string => {
  const about = explorer.about(id);
  return id === "sample/label" ? "degradation" : (about?.name ?? "");
};

async function colours(explorer: Explorer, asked: Asked, points: Points, models: string[]): Promise<Colouring> {
  const about = explorer.about(asked.colour);
  if (!about) return plain(points.x.length);
  const values = await explorer.values(about.id);
  if (values.words) {
    const own = about.id === "sample/label" ? new Map(explorer.study.labels.map((one) => [one.label, one.colour])) : undefined;
    return byWords(
      values.words,
      Array.from(points.row, (row) => values.codes[row] ?? 0),
      own,
    );
  }
  const model = models.find((one) => about.models.includes(one)) ?? about.models[0] ?? "";
  const numbers = measured(values, about.models, explorer.study.rows, { column: about.id, model, minus: "" });
  return { ...byNumbers(Float32Array.from(points.row, (row) => numbers[row] as number)), value: (row) => numbers[row] };
}
