/** Elements of the page, by their id and kind. */

export function element<T extends Element>(id: string, kind: abstract new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`The page has no ${kind.name} "${id}".`);
  return found;
}

const button = (id: string) => element(id, HTMLButtonElement);
const input = (id: string) => element(id, HTMLInputElement);
const select = (id: string) => element(id, HTMLSelectElement);
const some = (id: string) => element(id, HTMLElement);

export const dom = {
  files: input("files"), open: button("open"), camera: button("camera"), choose: button("choose"), sample: button("sample"),
  stage: some("stage"), canvas: element("canvas", HTMLCanvasElement), line: some("line"), empty: some("empty"),
  zoomOut: button("zoom-out"), zoomIn: button("zoom-in"), zoomFit: button("zoom-fit"), zoomFull: button("zoom-full"),
  progress: element("progress", HTMLProgressElement), status: some("status"),
  model: select("model"), facts: some("facts"), measure: button("measure"),
  strength: input("strength"), strengthValue: some("strength-value"), color: input("color"), colorValue: some("color-value"),
  format: select("format"), quality: input("quality"), qualityValue: some("quality-value"),
  save: button("save"), saveAll: button("save-all"), queue: some("queue"), clear: button("clear"), saving: some("saving"),
  live: some("live"), rate: select("rate"), record: button("record"), stop: button("stop"), liveFacts: some("live-facts"),
};

/** Tells what happened, also to a screen reader. */
export function tell(text: string, wrong = false): void {
  dom.status.textContent = text;
  dom.status.classList.toggle("wrong", wrong);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
