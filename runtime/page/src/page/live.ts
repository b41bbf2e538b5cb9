/** The camera, cleaned live: the frame rate is held by stepping down to quicker models and smaller pictures. */

import type { Picture } from "../core/picture";
import { type Strengths, blended } from "../core/strengths";
import { shown } from "../core/picture";
import type { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";
import { download } from "./save";
import type { Viewer } from "./viewer";

interface Step {
  readonly model: string;
  readonly width: number;
}

const WIDTHS = [960, 640, 480, 320, 240, 160];
const QUICK = ["denoise-fast", "denoise-fast-int8"];
const CALM = 2000; // milliseconds between steps
const SMOOTH = 0.8;
const REFUSED: Record<string, string> = {
  NotAllowedError: "The camera stays off: this page was not allowed to use it.",
  NotFoundError: "The camera stays off: none was found.",
};

export class Live {
  running = false;
  private starting = false;
  private run = 0; // grows each time that the camera is switched on: a frame of an older time is left
  private readonly video = document.createElement("video");
  private readonly canvas = document.createElement("canvas"); // what is recorded
  private recorder: MediaRecorder | null = null;
  private step = 0;
  private stepped = 0;
  private each = 0; // milliseconds of a frame, averaged
  private number = 2 ** 40; // of calls of `clean`: no stop of the queue ends them

  constructor(
    private readonly network: Remote,
    private readonly viewer: Viewer,
    private readonly model: () => string,
    private readonly strengths: () => Strengths,
    private readonly ended: () => void,
  ) {
    this.video.muted = true;
    this.video.playsInline = true;
    dom.record.onclick = () => (this.recorder ? this.recorder.stop() : this.record());
    dom.stop.onclick = () => this.stop();
  }

  /** Whether the camera is on, or is about to be. */
  get busy(): boolean {
    return this.running || this.starting;
  }

  async start(): Promise<void> {
    if (this.busy) return;
    this.starting = true;
    try {
      if (!navigator.mediaDevices) throw new Error("This browser offers no camera to pages that are not served safely.");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
      this.video.srcObject = stream;
      for (const track of stream.getTracks()) track.onended = () => this.lost();
      await this.video.play();
    } catch (error) {
      this.close();
      this.ended();
      tell((error instanceof DOMException && REFUSED[error.name]) || messageOf(error), true);
      return;
    } finally {
      this.starting = false;
    }
    this.running = true;
    dom.camera.setAttribute("aria-pressed", "true");
    dom.liveFacts.textContent = "";
    [this.step, this.each, this.stepped] = [0, 0, performance.now()];
    document.body.classList.add("is-live");
    tell("The camera is on.");
    void this.loop(++this.run);
  }

  stop(): void {
    if (!this.running) return;
    this.running = false;
    this.recorder?.stop();
    this.close();
    dom.camera.setAttribute("aria-pressed", "false");
    if (dom.live.contains(document.activeElement)) dom.camera.focus(); // the button that was pressed is hidden
    document.body.classList.remove("is-live");
    tell("The camera is off.");
    this.ended();
  }

  /** The camera was pulled out, or the browser took it away. */
  private lost(): void {
    if (!this.running) return;
    this.stop();
    tell("The camera stopped: it was unplugged, or this page may no longer use it.", true);
  }

  private close(): void {
    (this.video.srcObject as MediaStream | null)?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
  }

  private steps(): Step[] {
    const own = this.model(), quick = QUICK.filter((name) => name !== own);
    const wide = this.video.videoWidth || WIDTHS[0];
    return [
      { model: own, width: Math.min(wide, WIDTHS[0]) },
      ...WIDTHS.slice(1, 3).map((width) => ({ model: own, width })),
      ...WIDTHS.slice(1).map((width) => ({ model: quick[0] ?? own, width })),
    ].filter(({ width }) => width <= wide);
  }

  private async loop(run: number): Promise<void> {
    let shownAt = performance.now(), rate = 0;
    const on = () => this.running && run === this.run;
    try {
      while (on()) {
        const steps = this.steps(), step = steps[Math.min(this.step, steps.length - 1)];
        const started = performance.now();
        await this.frame(step, on, !rate);
        if (!on()) return;
        this.each = this.each ? SMOOTH * this.each + (1 - SMOOTH) * (performance.now() - started) : performance.now() - started;
        this.hold(steps.length);
        await new Promise((next) => requestAnimationFrame(next));
        const now = performance.now();
        rate = rate ? SMOOTH * rate + ((1 - SMOOTH) * 1000) / (now - shownAt) : 1000 / (now - shownAt);
        shownAt = now;
        const height = Math.round((step.width * this.video.videoHeight) / (this.video.videoWidth || 1));
        dom.liveFacts.textContent = `${rate.toFixed(1)} frames a second: ${step.model} at ${step.width} × ${height}`;
      }
    } catch (error) {
      if (!on()) return;
      this.stop();
      tell(messageOf(error), true);
    }
  }

  private async frame({ model, width }: Step, on: () => boolean, first: boolean): Promise<void> {
    const { video } = this, { videoWidth, videoHeight } = video;
    const height = Math.max(1, Math.round((width * videoHeight) / (videoWidth || 1)));
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("This browser gives no canvas for the camera.");
    context.drawImage(video, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const size = [videoWidth || width, videoHeight || height, "The camera's picture"] as const;
    if (first) this.viewer.show(canvas, null, ...size); // cleaning it may take a while
    const picture: Picture = { width, height, channels: 4, data: new Uint8Array(data.buffer) };
    const result = await this.network.call<Picture>("clean", { name: model, picture, number: ++this.number });
    if (!on()) return;
    const after = await createImageBitmap(shown(blended(picture, result, this.strengths())));
    if (!on()) return after.close();
    if (this.recorder) this.paint(after);
    this.viewer.show(canvas, after, ...size);
  }

  /** Steps down when frames take too long for the rate that is wanted, and up again when there is room. */
  private hold(steps: number): void {
    const wanted = 1000 / Number(dom.rate.value), now = performance.now();
    if (now - this.stepped < CALM) return;
    const next = this.each > 1.1 * wanted ? this.step + 1 : this.each < 0.4 * wanted ? this.step - 1 : this.step;
    const step = this.each > CALM ? steps - 1 : Math.min(Math.max(next, 0), steps - 1);
    if (step !== this.step) [this.step, this.each, this.stepped] = [step, 0, now];
  }

  private record(): void {
    if (!("MediaRecorder" in window)) return tell("This browser does not record.", true);
    try {
      this.recorder = this.recording();
    } catch (error) {
      return tell(`This browser does not record: ${messageOf(error)}`, true);
    }
    this.says("Save recording");
    tell("Recording the cleaned picture.");
  }

  private recording(): MediaRecorder {
    const parts: Blob[] = [];
    this.canvas.width = this.video.videoWidth;
    this.canvas.height = this.video.videoHeight;
    this.canvas.getContext("2d"); // a canvas without a context cannot be captured
    const recorder = new MediaRecorder(this.canvas.captureStream());
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.onstop = () => {
      const type = recorder.mimeType, suffix = type.includes("mp4") ? "mp4" : "webm";
      const recorded = new Blob(parts, { type });
      if (recorded.size) download(recorded, `camera_clean.${suffix}`);
      recorder.stream.getTracks().forEach((track) => track.stop());
      this.recorder = null;
      this.says("Record");
      if (recorded.size) tell(`camera_clean.${suffix} is saved.`);
      else tell("Nothing is saved: no picture of the camera was cleaned while this recorded.", true);
    };
    recorder.start(1000);
    return recorder;
  }

  private says(text: string): void {
    dom.record.textContent = text;
    dom.record.classList.toggle("on", this.recorder !== null);
  }

  private paint(after: ImageBitmap): void {
    this.canvas.getContext("2d")?.drawImage(after, 0, 0, this.canvas.width, this.canvas.height);
  }
}
