/** The models to choose from, with their size and their speed here. */

import { loaded } from "../core/loaded";
import type { ModelFacts } from "../network/worker";
import type { Remote } from "./calls";
import { dom, messageOf, tell } from "./dom";

interface Model {
  readonly name: string;
  readonly size: number;
  speed?: number; // megapixels per second
}

export class Models {
  /** Done when the packaged models are known. */
  readonly listed: Promise<void>;
  private readonly all: Model[] = [];
  private runs = ""; // where the chosen model runs; empty until it is open
  private measuring = false;
  /** Whether a person gave a model file, which is lost when the page is loaded anew. */
  given = false;

  constructor(
    private readonly network: Remote,
    private readonly changed: () => void,
    /** Waits until the network has nothing else to do. */
    private readonly idle: () => Promise<void>,
  ) {
    dom.model.onchange = () => void this.chosen();
    dom.measure.onclick = () => void this.measure();
    this.listed = this.known();
  }

  get name(): string {
    return dom.model.value;
  }

  /** Opens the first of the packaged models. */
  async start(): Promise<void> {
    await this.listed;
    await this.facts();
  }

  /** Takes a model file that a person gave, and chooses it. */
  async add(file: File): Promise<void> {
    const name = file.name.replace(/\.onnx$/i, "");
    await this.network.call("add", { name, file }); // refuses what is no model
    this.given = true;
    const known = this.all.findIndex((model) => model.name === name);
    this.all.splice(known < 0 ? this.all.length : known, known < 0 ? 0 : 1, { name, size: file.size });
    this.list(name);
    await this.chosen();
  }

  private async known(): Promise<void> {
    this.all.push(...((await (await loaded("models.json", "The list of models")).json()) as Model[]));
    this.list(this.all[0].name);
  }

  private async chosen(): Promise<void> {
    try {
      this.changed(); // at once: what the model before makes of a large picture is not waited for
      await this.facts();
      await this.addSpeed();
    } catch (error) {
      tell(messageOf(error), true);
    }
  }

  /** Opens the chosen model and says where it runs. */
  private async facts(): Promise<void> {
    const { name } = this;
    this.runs = "";
    dom.facts.textContent = `Loading ${name} …`;
    try {
      const { where, why } = await this.network.call<ModelFacts>("open", { name });
      if (this.name !== name) return;
      this.runs = [`Runs on ${where}.`, why].filter(Boolean).join(" ");
      this.say();
    } catch (error) {
      if (this.name === name) dom.facts.textContent = messageOf(error);
      throw error;
    }
  }

  /** Says where the chosen model runs, and how fast it is once that was measured. */
  private say(): void {
    const speed = this.all.find(({ name }) => name === this.name)?.speed;
    if (this.runs) dom.facts.textContent = this.runs + (speed ? ` It cleans ${speed.toPrecision(2)} megapixels a second.` : "");
  }

  /** Measures the model that is chosen, after the pictures that wait. */
  async addSpeed(): Promise<void> {
    const { name } = this;
    await this.idle();
    const model = this.all.find((one) => one.name === name);
    if (this.name === name && model && !model.speed) await this.time(model);
  }

  private async measure(): Promise<void> {
    if (this.measuring) return;
    this.measuring = true;
    try {
      for (const model of this.all) {
        tell(`Measuring ${model.name} …`);
        await this.time(model);
      }
      tell("All models are measured.");
    } catch (error) {
      tell(messageOf(error), true);
    } finally {
      this.measuring = false;
    }
  }

  private async time(model: Model): Promise<void> {
    model.speed = await this.network.call<number>("speed", { name: model.name });
    this.list(this.name);
    this.say();
  }

  private list(chosen: string): void {
    dom.model.replaceChildren(...this.all.map(({ name, size, speed }) => {
      const megabytes = `${(size / 1e6).toFixed(1)} MB`;
      const rate = speed ? `, ${speed < 0.1 ? speed.toFixed(2) : speed.toFixed(1)} MP/s` : "";
      return new Option(`${name} (${megabytes}${rate})`, name, name === "denoise", name === chosen);
    }));
  }
}
