/** The worker's side of calls from the page: each has a number, may report progress, and ends once. */

export interface Answer<T> {
  readonly result: T;
  readonly transfer?: Transferable[];
}

type Handler = (given: any, tell: (progress: unknown) => void) => Promise<Answer<unknown>> | Answer<unknown>;

export function serve(handlers: Record<string, Handler>): void {
  const worker = self as unknown as DedicatedWorkerGlobalScope;
  worker.onmessage = async ({ data: { id, name, given } }) => {
    try {
      const tell = (progress: unknown) => worker.postMessage({ id, progress });
      const { result, transfer } = await handlers[name](given, tell);
      worker.postMessage({ id, result }, transfer ?? []);
    } catch (error) {
      worker.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  };
}
