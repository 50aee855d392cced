/** In a notebook (anywidget): parts are asked from the kernel, the view is not in the address. */
import { render } from "preact";
import "./style.css";
import "./notebook.css";
import { App } from "./app";
import type { Study } from "./data";
import { Explorer } from "./explorer";
import type { Parts } from "./parts";
import { parseRoute, Router } from "./route";

interface Model {
  get(name: string): unknown;
  send(message: unknown): void;
  on(event: string, answer: (message: { part?: string; value?: unknown; error?: string }) => void): void;
  off(event: string, answer: (message: { part?: string; value?: unknown; error?: string }) => void): void;
}

function kernel(model: Model): Parts & { close(): void } {
  const waiting = new Map<string, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  const asked = new Map<string, Promise<unknown>>();
  const answer = (message: { part?: string; value?: unknown; error?: string }): void => {
    const one = message.part === undefined ? undefined : waiting.get(message.part);
    if (!one || message.part === undefined) return;
    waiting.delete(message.part);
    if (message.error === undefined) one.resolve(message.value);
    else {
      asked.delete(message.part);
      one.reject(new Error(message.error));
    }
  };
  model.on("msg:custom", answer);
  const load = (name: string): Promise<unknown> => {
    let one = asked.get(name);
    if (!one) {
      one = new Promise((resolve, reject) => waiting.set(name, { resolve, reject }));
      asked.set(name, one);
      model.send({ part: name });
    }
    return one;
  };
  return { load, served: true, close: () => model.off("msg:custom", answer) };
}

export default {
  render({ model, el }: { model: Model; el: HTMLElement }): () => void {
    const parts = kernel(model);
    const about = model.get("study") as Study;
    const router = new Router(false);
    const first = parseRoute(String(model.get("route") ?? ""));
    if (first) router.route.value = first;
    const explorer = new Explorer(parts, about, router);
    el.classList.add("xe-notebook");
    el.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab: its keys for cells are not meant here
    render(<App explorer={explorer} />, el);
    return () => {
      parts.close();
      render(null, el);
    };
  },
};
