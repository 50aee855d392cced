/** Numbers and legends of causal effect maps. */
import { shown } from "../format";
import { type Blocks, blockAt, COLOURS, effectText, outOfReach, type Verdict } from "./blocks";
import type { Linked } from "./linked";
import type { Role } from "./panels";

type Numbers = Record<string, number | null> | undefined;

/** Counts of blocks of one map, and how far its effects go. `blocks`: of the map itself, if it is at hand. */
export function EffectNumbers({ values, blocks }: { values: Numbers; blocks?: Blocks }) {
  if (!values) return <>–</>;
  if (values["undefined"]) return <>restored perfectly: no effect to measure</>;
  const count = (name: string): number => values[name] ?? 0;
  const beyond = blocks && outOfReach(blocks);
  return (
    <>
      {count("helping")} help, {count("harming")} harm, {count("neutral")} neutral{beyond ? ` (${beyond} out of reach)` : ""}, {count("undecided")} undecided
      <small title="distance from the window to the middle of the farthest block that helps or harms, input pixels; such blocks as a share of all">
        {" "}range {shown(values["range"], 3)} px, area {values["area"] == null ? "–" : `${shown(100 * values["area"], 2)} %`}
      </small>
    </>
  );
}

const WORDS: Record<Verdict, string> = {
  helps: "helps", harms: "harms", neutral: "neither helps nor harms", undecided: "undecided", "out of reach": "the window cannot depend on it",
};

/** What is known of the block under the cursor. */
export function BlockValue({ linked, blocks }: { linked: Linked; blocks: Blocks }) {
  const cursor = linked.cursor.value;
  const block = cursor && blockAt(blocks, linked.stage.sample, cursor.x, cursor.y);
  return (
    <span class="xe-value">
      {block ? (
        <>
          <b>{effectText(block)}</b> {WORDS[block.verdict]} <small>{block.draws ? `${block.draws} draws, ` : "not tried, "}block row {block.row}, col {block.column}</small>
        </>
      ) : (
        <small>
          {blocks.effect.width} × {blocks.effect.height} blocks of {blocks.side}
        </small>
      )}
    </span>
  );
}

/** What the colours of a panel mean. */
export function EffectLegend({ role, blocks }: { role: Role; blocks: Blocks }) {
  const verdicts: [string, number[]][] = [["helps", COLOURS.helps], ["harms", COLOURS.harms], ["undecided", COLOURS.undecided], ["neither", COLOURS.neutral]];
  const ends = verdicts.slice(0, 2);
  return (
    <span class="xe-legend">
      {(role === "verdicts" ? verdicts : role === "effects" ? ends : []).map(([word, colour]) => (
        <span key={word}>
          <i style={{ background: `rgb(${colour.join(", ")})` }} />
          {word}
        </span>
      ))}
      {outOfReach(blocks) > 0 && (
        <span title="The window provably cannot depend on these blocks: their effect is exactly 0, without a measurement">
          <i class="xe-dark" />
          dark image: out of reach
        </span>
      )}
    </span>
  );
}
