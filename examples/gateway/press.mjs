// A press from Node 18 or newer, by its own fetch:
//   GATEWAY=http://127.0.0.1:8080 KEY=axf_… node press.mjs 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6 true

const { GATEWAY, KEY } = process.env;
const TRIES = 5;

// Resolves once the press is durable. What is sent twice is delivered once, so every failure but a refusal is tried again.
export async function press(requestId, status, { org, group }) {
  const url = new URL(`/api/v2/ai/feedback/${requestId}/${status}`, GATEWAY);
  url.search = new URLSearchParams({ org, group });
  for (let attempt = 1; ; attempt += 1) {
    let seconds = 1;
    try {
      const response = await fetch(url, { headers: { "X-AX-KEY": KEY }, signal: AbortSignal.timeout(5000) });
      if (response.ok) return;
      if (response.status !== 429 && response.status < 500) {
        throw new RangeError(`${response.status}: ${await response.text()}`);
      }
      seconds = Number(response.headers.get("Retry-After") ?? 1);
    } catch (error) {
      if (error instanceof RangeError || attempt === TRIES) throw error;
    }
    if (attempt === TRIES) throw new Error(`not taken in ${TRIES} attempts`);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

// Many at once: a body of NDJSON, of any length, made while it is sent.
export async function pressMany(events) {
  const lines = new ReadableStream({
    async start(controller) {
      const encoder = new TextEncoder();
      for await (const event of events) controller.enqueue(encoder.encode(`${JSON.stringify(event)}\n`));
      controller.close();
    },
  });
  const headers = { "X-AX-KEY": KEY, "Content-Type": "application/x-ndjson", "Idempotency-Key": crypto.randomUUID() };
  const response = await fetch(new URL("/v1/feedback", GATEWAY), { method: "POST", headers, body: lines, duplex: "half" });
  return response.json();
}

const [requestId, status] = process.argv.slice(2);
const group = { org: "my-org", group: "my-group" };
await press(requestId, status, group);
console.log(JSON.stringify(await pressMany([{ request_id: requestId, status, ...group }, { request_id: requestId }])));
