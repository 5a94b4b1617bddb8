// The connection to the bridge: server-sent events for the status and new samples, and one request for the last hour.

// The bridge sends a status about once a second. After this time without one, the shown state is outdated.
const SILENCE_MS = 5000;

// A request for the last hour is given up after this time.
const LOAD_MS = 20000;

// The delay before a new connection, if the browser does not reconnect by itself. It does not after an HTTP error.
const RETRY_MS = 3000;

// The delay if the browser has to sign in. A reverse proxy may make it open a dialog for each request.
const SIGN_IN_MS = 30000;

const LOST = 'connection to the bridge lost; reconnecting';

/**
 * Connects, and reconnects for ever. Calls:
 * - `onStatus(message)` for each status;
 * - `onHistory(document)` for the last hour, after each connect and if samples are missing;
 * - `onSample(sample)` for each new sample, which returns false if samples before it are missing;
 * - `onState(state, text)` with `connecting`, `live` or `lost`, and what is wrong.
 */
export class Live {
  #handlers;
  #source = null;
  #silence = 0;
  #retry = 0;
  #isLoading = false;
  // What is wrong if the bridge refuses this browser, or null.
  #refusal = null;
  #state = '';

  constructor(handlers) {
    this.#handlers = handlers;
    // A status that was received before the page was suspended is outdated.
    window.addEventListener('pageshow', (event) => event.persisted && this.#connect());
    this.#report('connecting', 'connecting to the bridge');
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    const source = new EventSource('/api/v1/events');
    this.#source = source;
    source.addEventListener('open', () => {
      this.#refusal = null;
      this.#watch();
      this.#loadHistory();
    });
    source.addEventListener('status', (event) => {
      this.#watch();
      this.#report('live', 'live');
      this.#handlers.onStatus(JSON.parse(event.data));
    });
    source.addEventListener('sample', (event) => {
      if (!this.#handlers.onSample(JSON.parse(event.data))) this.#loadHistory();
    });
    source.addEventListener('error', () => this.#failed(source));
    this.#watch();
  }

  async #failed(source) {
    if (source !== this.#source) return;
    if (source.readyState !== EventSource.CLOSED) {
      // The browser reconnects by itself.
      this.#refusal = null;
      this.#report('lost', LOST);
      return;
    }
    this.#report('lost', this.#refusal ?? LOST);
    this.#source = null;
    clearTimeout(this.#silence);
    // Another request for the reason could open another dialog.
    if (this.#refusal === null) {
      const { text, isRefusal } = await reason();
      // Connected in the meantime.
      if (this.#source !== null) return;
      this.#refusal = isRefusal ? text : null;
      this.#report('lost', text);
    }
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), this.#refusal === null ? RETRY_MS : SIGN_IN_MS);
  }

  // Restarts the timer that detects a connection without any data, such as one of a laptop that was asleep.
  #watch() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#report('lost', 'the bridge has not sent anything for some seconds; reconnecting');
      this.#connect();
    }, this.#refusal === null ? SILENCE_MS : SIGN_IN_MS);
  }

  async #loadHistory() {
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      const response = await fetch('/api/v1/history', { cache: 'no-store', signal: AbortSignal.timeout(LOAD_MS) });
      if (response.ok) this.#handlers.onHistory(await response.json());
    } catch {
      // `onSample` returns false for the next sample, which loads the history again.
    } finally {
      this.#isLoading = false;
    }
  }

  #report(state, text) {
    const now = `${state} ${text}`;
    if (now === this.#state) return;
    this.#state = now;
    this.#handlers.onState(state, text);
  }
}

// Returns why an event stream was refused, which the browser does not report: the response to a request for the status
// shows it.
async function reason() {
  try {
    const { ok, status } = await fetch('/api/v1/status', {
      method: 'HEAD', cache: 'no-store', credentials: 'same-origin',
    });
    if (status === 401) return { text: 'Reload the page to sign in', isRefusal: true };
    if (status === 403) return { text: 'the bridge does not permit this page; reload it to see why', isRefusal: true };
    if (ok) return { text: 'too many pages of this bridge are open; close one, this page tries again' };
    return { text: `the bridge responded with HTTP status ${status}; reconnecting` };
  } catch {
    return { text: LOST };
  }
}
