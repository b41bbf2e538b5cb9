/** Original and cleaned picture, with a line between them; zoom by wheel, pinch, keys and buttons. */

import { dom } from "./dom";

const MOST = 32, STEP = 1.25, PAN = 48;

export class Viewer {
  private before: CanvasImageSource | null = null;
  private after: CanvasImageSource | null = null;
  private width = 1;
  private height = 1;
  private scale = 1; // CSS pixels per pixel of the picture
  private x = 0; // of the picture's left upper corner in the stage
  private y = 0;
  private fitted = true;
  private split = 0.5;
  private drawn = 0;
  private readonly pointers = new Map<number, { x: number; y: number }>();

  constructor() {
    new ResizeObserver(() => this.resized()).observe(dom.stage);
    dom.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.offsetX, event.offsetY);
    }, { passive: false });
    dom.canvas.addEventListener("dblclick", (event) => (this.fitted ? this.full(event.offsetX, event.offsetY) : this.fit()));
    for (const target of [dom.canvas, dom.line]) {
      target.addEventListener("pointerdown", (event) => this.pressed(event, target));
      target.addEventListener("pointermove", (event) => this.moved(event));
      for (const end of ["pointerup", "pointercancel"] as const)
        target.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    dom.line.addEventListener("keydown", (event) => this.lineKey(event));
    dom.canvas.addEventListener("keydown", (event) => this.canvasKey(event));
    dom.zoomIn.onclick = () => this.zoom(STEP);
    dom.zoomOut.onclick = () => this.zoom(1 / STEP);
    dom.zoomFit.onclick = () => this.fit();
    dom.zoomFull.onclick = () => this.full();
    this.moveLine(0.5);
  }

  /** Shows no picture. */
  clear(): void {
    this.show(null, null, 1, 1, "No picture yet");
  }

  /** Shows a picture of this size, whatever the sizes of `before` and `after`; the place that is seen stays if it does. */
  show(before: CanvasImageSource | null, after: CanvasImageSource | null, width: number, height: number, name: string): void {
    for (const old of [this.before, this.after])
      if (old instanceof ImageBitmap && old !== before && old !== after) old.close();
    [this.before, this.after] = [before, after];
    const other = width !== this.width || height !== this.height;
    [this.width, this.height] = [width, height];
    dom.canvas.setAttribute("aria-label", name);
    const left = before !== null && dom.empty.contains(document.activeElement);
    dom.empty.hidden = before !== null;
    if (left) dom.canvas.focus(); // the button that was pressed is gone
    dom.stage.classList.toggle("compares", before !== null && after !== null);
    if (other) this.fit();
    else this.draw();
  }

  private resized(): void {
    const { clientWidth, clientHeight } = dom.stage, ratio = devicePixelRatio;
    dom.canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    dom.canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.settle();
  }

  private fit(): void {
    this.scale = this.fitScale();
    this.fitted = true;
    this.settle();
  }

  private full(x?: number, y?: number): void {
    this.zoom(1 / devicePixelRatio / this.scale, x, y);
  }

  private fitScale(): number {
    const { clientWidth, clientHeight } = dom.stage;
    return Math.min(clientWidth / this.width, clientHeight / this.height, 4);
  }

  private zoom(by: number, x = dom.stage.clientWidth / 2, y = dom.stage.clientHeight / 2): void {
    const least = Math.min(this.fitScale(), 1 / devicePixelRatio);
    const scale = Math.min(Math.max(this.scale * by, least), MOST);
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = Math.abs(scale - this.fitScale()) < 1e-9;
    this.settle();
  }

  /** Keeps the picture in the stage: in its middle where it is smaller, else without a gap at an edge. */
  private settle(): void {
    const kept = (at: number, length: number, room: number) =>
      length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at));
    this.x = kept(this.x, this.width * this.scale, dom.stage.clientWidth);
    this.y = kept(this.y, this.height * this.scale, dom.stage.clientHeight);
    dom.zoomFull.textContent = `${Math.round(this.scale * devicePixelRatio * 100)} %`;
    this.draw();
  }

  private draw(): void {
    cancelAnimationFrame(this.drawn);
    this.drawn = requestAnimationFrame(() => this.drawNow());
  }

  private drawNow(): void {
    const { canvas } = dom, context = canvas.getContext("2d");
    if (!context) return;
    const ratio = devicePixelRatio, scale = this.scale * ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.before) return;
    const edge = Math.round(canvas.width * this.split);
    const part = (image: CanvasImageSource, left: number, right: number) => {
      context.save();
      context.beginPath();
      context.rect(left, 0, right - left, canvas.height);
      context.clip();
      context.imageSmoothingEnabled = scale < 2;
      context.imageSmoothingQuality = "high";
      context.setTransform(scale, 0, 0, scale, this.x * ratio, this.y * ratio);
      context.drawImage(image, 0, 0, this.width, this.height);
      context.restore();
    };
    part(this.before, 0, this.after ? edge : canvas.width);
    if (this.after) part(this.after, edge, canvas.width);
  }

  private pressed(event: PointerEvent, target: Element): void {
    if (event.button) return;
    target.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (target === dom.line) dom.line.focus();
  }

  private moved(event: PointerEvent): void {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const now = { x: event.clientX, y: event.clientY }, box = dom.stage.getBoundingClientRect();
    if (event.currentTarget === dom.canvas && this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const distance = (place: { x: number; y: number }) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
      this.zoom(distance(now) / distance(last), (now.x + other.x) / 2 - box.left, (now.y + other.y) / 2 - box.top);
    } else if (event.currentTarget === dom.line || this.fitted) this.moveLine((now.x - box.left) / box.width);
    else {
      this.x += now.x - last.x;
      this.y += now.y - last.y;
      this.settle();
    }
    this.pointers.set(event.pointerId, now);
  }

  private moveLine(split: number): void {
    this.split = Math.min(Math.max(split, 0), 1);
    const percent = Math.round(this.split * 100);
    dom.line.style.setProperty("--split", `${this.split * 100}%`);
    dom.line.setAttribute("aria-valuenow", String(percent));
    dom.line.setAttribute("aria-valuetext", `${percent} % original, ${100 - percent} % cleaned`);
    this.draw();
  }

  private lineKey(event: KeyboardEvent): void {
    const step = event.shiftKey ? 0.1 : 0.02;
    const moves: Record<string, number> = {
      ArrowLeft: this.split - step, ArrowDown: this.split - step, ArrowRight: this.split + step,
      ArrowUp: this.split + step, Home: 0, End: 1,
    };
    if (!(event.key in moves)) return this.canvasKey(event);
    event.preventDefault();
    this.moveLine(moves[event.key]);
  }

  private canvasKey(event: KeyboardEvent): void {
    const pan = (x: number, y: number) => () => {
      this.x += x;
      this.y += y;
      this.settle();
    };
    const keys: Record<string, () => void> = {
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP),
      "0": () => this.fit(), "1": () => this.full(), ArrowLeft: pan(PAN, 0), ArrowRight: pan(-PAN, 0),
      ArrowUp: pan(0, PAN), ArrowDown: pan(0, -PAN),
    };
    if (!(event.key in keys) || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  }
}
