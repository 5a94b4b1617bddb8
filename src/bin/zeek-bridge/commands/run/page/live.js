// The connection to the bridge: server-sent events for the status and new samples, and one request for the last hour.

// The bridge sends a status about once a second. After this time without one, the shown state is outdated.
const SILENCE_MS = 5000;

// A request for the last hour is given up after this time.
const LOAD_MS = 20000;

// The delay before a new connection, if the browser does not reconnect by itself. It does not after an HTTP error.
const RETRY_MS = 3000;

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
  #isLoading = false;
  #state = '';

  constructor(handlers) {
    this.#handlers = handlers;
    // A status that was received before the page was suspended is outdated.
    window.addEventListener('pageshow', (event) => event.persisted && this.#connect());
    this.#report('connecting', 'connecting to the bridge');
    this.#connect();
  }

  #connect() {
    this.#source?.close();
    const source = new EventSource('/api/v1/events');
    this.#source = source;
    source.addEventListener('open', () => {
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
    this.#report('lost', 'the page has lost the bridge; reconnecting');
    if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
    this.#source = null;
    clearTimeout(this.#silence);
    this.#report('lost', await reason());
    setTimeout(() => this.#connect(), RETRY_MS);
  }

  // Restarts the timer that detects a connection without any data, such as one of a laptop that was asleep.
  #watch() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#report('lost', 'the bridge has not sent anything for some seconds; reconnecting');
      this.#connect();
    }, SILENCE_MS);
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

// The browser does not tell a page why an event stream was refused, so ask for the status.
async function reason() {
  try {
    const response = await fetch('/api/v1/status', { method: 'HEAD', cache: 'no-store' });
    if (response.status === 401 || response.status === 403) {
      return 'the bridge does not accept the token or the certificate of this browser; reload the page to sign in';
    }
    if (response.ok) return 'too many pages of this bridge are open; close one, this page tries again';
    return `the bridge responded with HTTP status ${response.status}; reconnecting`;
  } catch {
    return 'the page has lost the bridge; reconnecting';
  }
}
