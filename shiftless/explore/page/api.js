// What the server is asked for. Every request names this tab, so that two tabs never mix up, and has a number, so that
// of two requests the newer one is known however they arrive.

const bytes = crypto.getRandomValues(new Uint8Array(12));
export const CLIENT = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

let number = 0;

export class Refused extends Error {
  constructor(message, status, stale) {
    super(message);
    this.status = status;
    this.stale = stale;
  }
}

/** Ask for a path; `json` is sent as JSON, `body` as it is. Throws Refused with the server's own words. */
export async function ask(path, { json, body, signal } = {}) {
  const headers = { "X-Shiftless-Client": CLIENT, "X-Shiftless-Number": String((number += 1)) };
  const options = { headers, signal, credentials: "same-origin", cache: "no-store" };
  if (json !== undefined || body !== undefined) {
    options.method = "POST";
    options.body = json === undefined ? body : JSON.stringify(json);
    headers["Content-Type"] = json === undefined ? "application/octet-stream" : "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw new Refused("stopped", 0, true);
    throw new Refused("the explorer does not answer; is `shiftless explore` still running?", 0, false);
  }
  if (!answer.ok) {
    let about = {};
    try {
      about = await answer.json();
    } catch {
      // an answer without JSON says no more than its status
    }
    throw new Refused(about.error || `the explorer answered ${answer.status}`, answer.status, false);
  }
  if (answer.headers.has("x-shiftless-stale")) throw new Refused("a newer request took its place", 204, true);
  return answer;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const askBitmap = async (path, options) => {
  const answer = await ask(path, options);
  return answer.status === 204 ? null : createImageBitmap(await answer.blob());
};

/** Ask for a packed answer: { about, arrays: [{ shape, data: Uint8Array }] }; see packing.py. */
export async function askPacked(path, options) {
  const buffer = await (await ask(path, options)).arrayBuffer();
  const length = new DataView(buffer).getUint32(4, true);
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const arrays = about.arrays.map(({ shape, at }) => ({
    shape,
    data: new Uint8Array(buffer, 8 + length + at, shape.reduce((a, b) => a * b, 1)),
  }));
  return { about, arrays };
}
