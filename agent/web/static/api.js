// Talking to the device: JSON in and out, one kind of error for what it refuses and another for no answer at all.

const PATIENCE_MS = 8000;
/** A change may be looked at for a while before it is answered. */
const COMMAND_MS = 130_000;

/** The device answered, and refused. `code` is for programs, `message` for people. */
export class ApiError extends Error {
  constructor(status, failure) {
    super(failure.message || `the device answered ${status}`);
    this.status = status;
    this.code = failure.code ?? "";
    this.problems = failure.problems ?? [];
  }
}

/** No answer came: no network, or nobody there. */
export class Unreachable extends Error {}

/** Send a request and return its JSON. Raises ApiError, Unreachable, or what `signal` was ended with. */
export async function request(path, { signal, patience = PATIENCE_MS, ...options } = {}) {
  const late = AbortSignal.timeout(patience);
  let response;
  let body;
  try {
    response = await fetch(path, {
      ...options,
      headers: { Accept: "application/json", ...(options.method ? { "X-Lookout": "1" } : {}), ...options.headers },
      signal: signal ? AbortSignal.any([signal, late]) : late,
      credentials: "same-origin",
      cache: "no-store",
    });
    body = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("the device does not answer", { cause: error });
  }
  const answer = read(body);
  if (!response.ok) throw new ApiError(response.status, answer?.error ?? {});
  return answer;
}

/** Get JSON of the device. Who is not logged in is sent to the door. */
export async function get(path, signal) {
  try {
    return await request(path, { signal });
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) location.assign(`/login${location.hash}`);
    throw error;
  }
}

/** Run a command such as `model/rollback` and return its result. Raises ApiError with the device's own words. */
export async function command(verb, args) {
  const answer = await request(`/api/commands/${verb}`, {
    method: "POST",
    patience: COMMAND_MS,
    body: JSON.stringify(args),
    headers: { "Content-Type": "application/json" },
  });
  if (!answer?.ok) throw new ApiError(200, answer?.error ?? {});
  return answer.result;
}

/** Build a path with its question. */
export function ask(path, question) {
  const known = Object.entries(question).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return known.length ? `${path}?${new URLSearchParams(known)}` : path;
}

function read(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null; // not the agent itself: a proxy, or a page
  }
}
