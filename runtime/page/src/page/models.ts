/** The models to choose from, with their size and their speed here. */

import type { ModelFacts } from "../network/worker";
import type { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";

interface Model {
  readonly name: string;
  readonly size: number;
  speed?: number; // megapixels per second
}

export class Models {
  private readonly all: Model[] = [];

  constructor(
    private readonly network: Remote,
    private readonly changed: () => void,
    /** Waits until the network has nothing else to do. */
    private readonly idle: () => Promise<void>,
  ) {
    dom.model.onchange = () => void this.chosen();
    dom.measure.onclick = () => void this.measure();
  }

  get name(): string {
    return dom.model.value;
  }

  get names(): string[] {
    return this.all.map(({ name }) => name);
  }

  /** Lists the packaged models and opens the first. */
  async start(): Promise<void> {
    const answer = await fetch("models.json");
    if (!answer.ok) throw new Error("The list of models cannot be loaded: reload this page.");
    this.all.push(...((await answer.json()) as Model[]));
    this.list(this.all[0].name);
    await this.facts();
  }

  /** Takes a model file that a person gave, and chooses it. */
  async add(file: File): Promise<void> {
    const name = file.name.replace(/\.onnx$/i, "");
    await this.network.call("add", { name, file }); // refuses what is no model
    const known = this.all.findIndex((model) => model.name === name);
    this.all.splice(known < 0 ? this.all.length : known, known < 0 ? 0 : 1, { name, size: file.size });
    this.list(name);
    await this.chosen();
  }

  private async chosen(): Promise<void> {
    try {
      await this.facts();
      this.changed();
      await this.addSpeed();
    } catch (error) {
      tell(messageOf(error), true);
    }
  }

  /** Says where the chosen model runs, and how fast. */
  private async facts(): Promise<void> {
    const { name } = this;
    dom.facts.textContent = `Loading ${name} …`;
    try {
      const { where, why } = await this.network.call<ModelFacts>("open", { name });
      if (this.name === name) dom.facts.textContent = [`Runs on ${where}.`, why].filter(Boolean).join(" ");
    } catch (error) {
      dom.facts.textContent = messageOf(error);
      throw error;
    }
  }

  /** Measures the model that is chosen, after the pictures that wait, and says how fast it is. */
  async addSpeed(): Promise<void> {
    const { name } = this;
    await this.idle();
    if (this.name !== name) return;
    const speed = await this.timed(name);
    if (this.name === name && speed) dom.facts.textContent += ` It cleans ${speed.toPrecision(2)} megapixels a second.`;
  }

  private async measure(): Promise<void> {
    dom.measure.disabled = true;
    try {
      for (const { name } of this.all) await this.timed(name, true);
      tell("All models are measured.");
    } catch (error) {
      tell(messageOf(error), true);
    } finally {
      dom.measure.disabled = false;
    }
  }

  private async timed(name: string, anew = false): Promise<number> {
    const model = this.all.find((one) => one.name === name);
    if (!model) return 0;
    if (model.speed && !anew) return model.speed;
    model.speed = await this.network.call<number>("speed", { name });
    this.list(this.name);
    return model.speed;
  }

  private list(chosen: string): void {
    dom.model.replaceChildren(...this.all.map(({ name, size, speed }) => {
      const megabytes = `${(size / 1e6).toFixed(1)} MB`;
      const rate = speed ? `, ${speed < 0.1 ? speed.toFixed(2) : speed.toFixed(1)} MP/s` : "";
      return new Option(`${name} (${megabytes}${rate})`, name, name === "denoise", name === chosen);
    }));
  }
}
