/** A file of this page, or an error that says what cannot be loaded, and why. */
export async function loaded(address: string | URL, what: string): Promise<Response> {
  const answer = await fetch(address).catch(() => {
    throw new Error(`${what} cannot be loaded: the server does not answer.`);
  });
  if (!answer.ok) throw new Error(`${what} cannot be loaded: the server answers ${answer.status}.`);
  return answer;
}
