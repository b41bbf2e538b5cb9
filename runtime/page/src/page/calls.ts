/** The page's side of calls to a worker, see network/served.ts. */

type Tell = (progress: any) => void;

export class Remote {
  private readonly open = new Map<number, { resolve(value: any): void; reject(error: Error): void; tell?: Tell }>();
  private last = 0;
  private broken: Error | null = null; // why the worker will never answer

  constructor(private readonly worker: Worker) {
    worker.onmessage = ({ data: { id, result, error, progress } }) => {
      const call = this.open.get(id);
      if (!call) return;
      if (progress !== undefined) return call.tell?.(progress);
      this.open.delete(id);
      if (error === undefined) call.resolve(result);
      else call.reject(new Error(error));
    };
    worker.onerror = (event) => {
      const error = new Error(event.message || "A part of this page did not load: reload the page.");
      if (!event.message) this.broken = error; // its file did not load
      for (const { reject } of this.open.values()) reject(error);
      this.open.clear();
    };
  }

  call<T>(name: string, given: object = {}, tell?: Tell, transfer: Transferable[] = []): Promise<T> {
    if (this.broken) return Promise.reject(this.broken);
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.open.set(id, { resolve, reject, tell });
      this.worker.postMessage({ id, name, given }, transfer);
    });
  }
}
