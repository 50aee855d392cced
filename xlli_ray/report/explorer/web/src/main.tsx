/** On the page of a study: fills the section `#explore`. Without scripts, the page stands as it is. */
import { render } from "preact";
import "./style.css";
import { App } from "./app";
import { KINDS } from "./charts/kinds";
import { Explorer } from "./explorer";
import { scripts, study } from "./parts";
import { parseRoute, Router } from "./route";
import { linkTwins } from "./twins";

async function start(place: HTMLElement): Promise<void> {
  const parts = scripts();
  place.hidden = false;
  document.documentElement.classList.add("scripted");
  try {
    const about = await study(parts);
    if (about.format !== 1) throw new Error(`its data has format ${about.format}, this program reads 1: write the page again with xlli report`);
    const router = new Router(true);
    render(<App explorer={new Explorer(parts, about, router)} />, place);
    linkTwins(about.figures, new Set(Object.keys(KINDS)));
    if (parseRoute(location.hash)) place.scrollIntoView();
    addEventListener("hashchange", () => parseRoute(location.hash) && place.scrollIntoView());
  } catch (error) {
    render(<p class="xe-error">The explorer did not start: {error instanceof Error ? error.message : String(error)}</p>, place);
  }
}

const place = document.getElementById("explore");
if (place) void start(place);
